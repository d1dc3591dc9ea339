//! Ranges that are not answered in the order of keys.
//!
//! Pairs are collected by what they are sorted by, not with their values (unless they are sorted by
//! value), and with a limit never more of them than the limit. Pairs that are equal come in the
//! order of their keys; etcd promises no order among them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::history::Version;
use super::key_value::KeyValue;
use super::range::{Found, Values, answer_pair, found_version};
use super::revision::Revision;
use super::step::{Budget, Step};
use super::walk::{Course, Flow, Walk};
use crate::btree::View;
use crate::command::{RangeRequest, SortOrder, SortTarget};
use crate::pages::Outcome;

/// What a pair is sorted by. All pairs of a range have the same kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Up(i64),
    Down(Reverse<i64>),
    ValueUp(Box<[u8]>),
    ValueDown(Reverse<Box<[u8]>>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: Rank,
    key: Box<[u8]>,
    modified: Revision,
}

/// The pairs of a range that are being sorted.
#[derive(Debug)]
pub(crate) struct Sorted {
    /// With a limit, the best so far, worst on top.
    best: BinaryHeap<Candidate>,
    /// How many pairs are answered at most.
    limit: usize,
    /// Whether only the first pairs in the order of keys take part: etcd applies the limit before
    /// it sorts, if the request names something to sort by but no order and no filter.
    first_only: bool,
    in_order: Vec<Candidate>,
    next: usize,
    matched: usize,
}

impl Sorted {
    pub(crate) fn new(request: &RangeRequest<'_>) -> Self {
        let limit = match request.limit {
            limit if limit > 0 => usize::try_from(limit).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        Self {
            best: BinaryHeap::new(),
            limit,
            first_only: request.sort_order == SortOrder::None && !request.has_revision_filters(),
            in_order: Vec::new(),
            next: 0,
            matched: 0,
        }
    }

    /// Whether the limit cut pairs off.
    pub(crate) fn more(&self) -> bool {
        self.matched > self.limit
    }

    /// Goes over the interval and keeps what will be answered.
    pub(crate) fn collect<V: View>(
        &mut self,
        view: &V,
        request: &RangeRequest<'_>,
        course: &Course<'_>,
        walk: &mut Walk,
        found: &mut Found,
        budget: &mut Budget,
    ) -> Outcome<Step<Flow>> {
        let step = walk.step(view, course, budget, &mut |view, key, version| {
            if self.first_only && self.matched > self.limit {
                found.cut = true;
                return Ok(Flow::Stop);
            }
            if request.passes_filters(version.create, version.modified.main) {
                let rank = rank(view, request, &version)?;
                self.keep(Candidate {
                    rank,
                    key: key.into(),
                    modified: version.modified,
                });
                self.matched += 1;
            }
            found.visited += 1;
            Ok(Flow::Continue)
        })?;
        if let Step::Done(_) = step {
            let best = std::mem::take(&mut self.best);
            self.in_order = best.into_sorted_vec();
            self.in_order.truncate(self.limit);
        }
        Ok(step)
    }

    fn keep(&mut self, candidate: Candidate) {
        if self.best.len() < self.limit {
            self.best.push(candidate);
        } else if let Some(mut worst) = self.best.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    /// Hands out what was kept, in order.
    pub(crate) fn hand_out<V: View>(
        &mut self,
        view: &V,
        request: &RangeRequest<'_>,
        values: Values,
        compacted: i64,
        budget: &mut Budget,
        sink: &mut dyn FnMut(KeyValue<'_>),
    ) -> Outcome<Step<Flow>> {
        while let Some(candidate) = self.in_order.get(self.next) {
            if !budget.take() {
                return Ok(Step::Yield);
            }
            let version = found_version(view, candidate.modified, compacted)?;
            sink(answer_pair(
                view,
                request,
                values,
                &candidate.key,
                &version,
            )?);
            self.next += 1;
        }
        Ok(Step::Done(Flow::Continue))
    }
}

fn rank<'v, V: View>(
    view: &'v V,
    request: &RangeRequest<'_>,
    version: &Version<'v>,
) -> Outcome<Rank> {
    let number = match request.sort_target {
        SortTarget::Version => version.version,
        SortTarget::Create => version.create,
        SortTarget::Mod => version.modified.main,
        SortTarget::Value => {
            let value = version.value(view)?.into();
            return Ok(match request.sort_order {
                SortOrder::Descend => Rank::ValueDown(Reverse(value)),
                _ => Rank::ValueUp(value),
            });
        }
        SortTarget::Key | SortTarget::Unknown => 0,
    };
    Ok(match request.sort_order {
        SortOrder::Descend => Rank::Down(Reverse(number)),
        _ => Rank::Up(number),
    })
}
