//! Reading a key or an interval, at the current revision or an older one, in slices.

use super::count::Count;
use super::error;
use super::history::{ReadPoint, Version, version_from};
use super::key_value::KeyValue;
use super::sorted::Sorted;
use super::state::State;
use super::step::{Budget, Step};
use super::walk::{Course, Flow, Walk, single_version};
use crate::btree::{TreeId, View};
use crate::command::{Interval, RangeRequest, Refusal, SortOrder, SortTarget};
use crate::pages::Outcome;

/// What a range answers besides its pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeSummary {
    /// The current revision when the range began: the header's revision.
    pub revision: i64,
    /// All keys that the interval held, limit and filters not regarded. Without a total asked for,
    /// it is right only if `more` is false.
    pub count: i64,
    /// Whether the limit cut pairs off.
    pub more: bool,
}

/// Whether values are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// Pairs come with their values.
    #[default]
    Loaded,
    /// Pairs come with the lengths of their values alone, and no value is touched: the first pass
    /// of an answer that is sized before it is sent.
    Measured,
}

/// One range, read in slices.
///
/// The revision is fixed at the first slice. Later slices may be given newer views: they answer the
/// same, unless the revision has been compacted away in between, which they say.
#[derive(Debug)]
pub struct RangeTask<'r> {
    request: RangeRequest<'r>,
    progress: RangeProgress,
}

impl<'r> RangeTask<'r> {
    /// A range that answers values and the total count.
    #[must_use]
    pub fn new(request: RangeRequest<'r>) -> Self {
        Self {
            request,
            progress: RangeProgress::new(Values::Loaded, true),
        }
    }

    /// A range that leaves the values alone and only tells their lengths.
    #[must_use]
    pub fn measuring(mut self) -> Self {
        self.progress.values = Values::Measured;
        self
    }

    /// A range that does not count beyond its limit: for the chunks of a stream.
    #[must_use]
    pub fn without_total(mut self) -> Self {
        self.progress.total = false;
        self
    }

    /// Goes on, and hands the pairs to `sink` in the order of the answer. What the sink was given
    /// is never given again.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn step<V: View>(
        &mut self,
        view: &V,
        budget: &mut Budget,
        sink: &mut dyn FnMut(KeyValue<'_>),
    ) -> Outcome<Step<RangeSummary>> {
        let state = State::load(view)?;
        let point = ReadPoint {
            current: state.revision,
            compacted: state.compacted,
        };
        self.progress.step(view, &self.request, point, budget, sink)
    }
}

/// Where a range stands between slices.
#[derive(Debug)]
pub(crate) struct RangeProgress {
    values: Values,
    total: bool,
    pinned: Option<Pinned>,
    stage: Stage,
}

/// What the first slice fixes.
#[derive(Clone, Copy, Debug)]
struct Pinned {
    current: i64,
    at: i64,
}

#[derive(Debug)]
enum Stage {
    /// Handing out pairs in the order of keys.
    Walk { walk: Walk, found: Found },
    /// Collecting what has to be sorted, then handing it out.
    Sort {
        walk: Walk,
        found: Found,
        sorted: Box<Sorted>,
        collected: bool,
    },
    /// Counting what lies beyond the limit.
    Count { count: Count, more: bool },
}

/// What a walk has come upon.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// Keys that existed.
    pub(crate) visited: i64,
    /// Those of them that passed the filters.
    pub(crate) matched: i64,
    /// Whether the walk ended before the interval did.
    pub(crate) cut: bool,
}

impl RangeProgress {
    pub(crate) fn new(values: Values, total: bool) -> Self {
        Self {
            values,
            total,
            pinned: None,
            stage: Stage::Walk {
                walk: Walk::default(),
                found: Found::default(),
            },
        }
    }

    /// As [`RangeTask::step`], as of the given point.
    pub(crate) fn step<V: View>(
        &mut self,
        view: &V,
        request: &RangeRequest<'_>,
        point: ReadPoint,
        budget: &mut Budget,
        sink: &mut dyn FnMut(KeyValue<'_>),
    ) -> Outcome<Step<RangeSummary>> {
        let pinned = match self.pin(request, point) {
            Ok(pinned) => pinned,
            Err(refusal) => return Ok(Step::Refused(refusal)),
        };
        let course = Course {
            interval: request.interval(),
            backward: request.sort_target == SortTarget::Key
                && request.sort_order == SortOrder::Descend,
            at: pinned.at,
            point,
        };
        let step = match (request.count_only, course.interval) {
            (true, _) => self.count(view, &course, false, budget),
            (false, Interval::Key(key)) => self.single(view, request, &course, key, sink),
            (false, _) => self.several(view, request, &course, budget, sink),
        }?;
        Ok(match step {
            Step::Done(summary) => Step::Done(RangeSummary {
                revision: pinned.current,
                ..summary
            }),
            other => other,
        })
    }

    /// Fixes the revision at the first slice; later, sees that it can still be read.
    fn pin(&mut self, request: &RangeRequest<'_>, point: ReadPoint) -> Result<Pinned, Refusal> {
        let pinned = match self.pinned {
            Some(pinned) => pinned,
            None => {
                let current = point.current;
                if request.revision > current {
                    return Err(Refusal::FutureRevision { current });
                }
                let at = if request.revision <= 0 {
                    current
                } else {
                    request.revision
                };
                Pinned { current, at }
            }
        };
        if pinned.at < point.compacted {
            return Err(Refusal::Compacted {
                compacted: point.compacted,
            });
        }
        self.pinned = Some(pinned);
        Ok(pinned)
    }

    fn single<V: View>(
        &self,
        view: &V,
        request: &RangeRequest<'_>,
        course: &Course<'_>,
        key: &[u8],
        sink: &mut dyn FnMut(KeyValue<'_>),
    ) -> Outcome<Step<RangeSummary>> {
        let version = single_version(view, key, course.at, course.point)?;
        if let Some(version) = &version
            && request.passes_filters(version.create, version.modified.main)
        {
            sink(answer_pair(view, request, self.values, key, version)?);
        }
        Ok(Step::Done(RangeSummary {
            count: i64::from(version.is_some()),
            ..RangeSummary::default()
        }))
    }

    fn several<V: View>(
        &mut self,
        view: &V,
        request: &RangeRequest<'_>,
        course: &Course<'_>,
        budget: &mut Budget,
        sink: &mut dyn FnMut(KeyValue<'_>),
    ) -> Outcome<Step<RangeSummary>> {
        if request.sort_target != SortTarget::Key
            && let Stage::Walk { walk, found } = &mut self.stage
        {
            self.stage = Stage::Sort {
                walk: std::mem::take(walk),
                found: *found,
                sorted: Box::new(Sorted::new(request)),
                collected: false,
            };
        }
        let (found, more) = match &mut self.stage {
            Stage::Walk { walk, found } => {
                let values = self.values;
                let step = hand_out(view, request, course, values, walk, found, budget, sink)?;
                if step == Step::Yield {
                    return Ok(Step::Yield);
                }
                (*found, found.cut)
            }
            Stage::Sort {
                walk,
                found,
                sorted,
                collected,
            } => {
                if !*collected {
                    if sorted.collect(view, request, course, walk, found, budget)? == Step::Yield {
                        return Ok(Step::Yield);
                    }
                    *collected = true;
                }
                let compacted = course.point.compacted;
                if sorted.hand_out(view, request, self.values, compacted, budget, sink)?
                    == Step::Yield
                {
                    return Ok(Step::Yield);
                }
                (*found, sorted.more())
            }
            Stage::Count { more, .. } => {
                let more = *more;
                return self.count(view, course, more, budget);
            }
        };
        if found.cut && self.total {
            return self.count(view, course, more, budget);
        }
        Ok(Step::Done(RangeSummary {
            revision: 0,
            count: found.visited,
            more,
        }))
    }

    fn count<V: View>(
        &mut self,
        view: &V,
        course: &Course<'_>,
        more: bool,
        budget: &mut Budget,
    ) -> Outcome<Step<RangeSummary>> {
        if !matches!(self.stage, Stage::Count { .. }) {
            self.stage = Stage::Count {
                count: Count::default(),
                more,
            };
        }
        let Stage::Count { count, more } = &mut self.stage else {
            unreachable!("the stage was just set");
        };
        let more = *more;
        Ok(match count.step(view, course, budget)? {
            Step::Done(count) => Step::Done(RangeSummary {
                revision: 0,
                count,
                more,
            }),
            Step::Refused(refusal) => Step::Refused(refusal),
            Step::Yield => Step::Yield,
        })
    }
}

/// Hands out pairs in the order of the walk, up to the limit.
#[allow(clippy::too_many_arguments)]
fn hand_out<V: View>(
    view: &V,
    request: &RangeRequest<'_>,
    course: &Course<'_>,
    values: Values,
    walk: &mut Walk,
    found: &mut Found,
    budget: &mut Budget,
    sink: &mut dyn FnMut(KeyValue<'_>),
) -> Outcome<Step<Flow>> {
    walk.step(view, course, budget, &mut |view, key, version| {
        if request.passes_filters(version.create, version.modified.main) {
            if request.limit > 0 && found.matched == request.limit {
                found.cut = true;
                return Ok(Flow::Stop);
            }
            sink(answer_pair(view, request, values, key, &version)?);
            found.matched += 1;
        }
        found.visited += 1;
        Ok(Flow::Continue)
    })
}

/// The pair as the request wants it. Without values it comes without its lease as well, unless it
/// is sorted by value (etcd 3.7 answers such a request from its index, which knows no leases).
pub(crate) fn answer_pair<'a, 'v: 'a, V: View>(
    view: &'v V,
    request: &RangeRequest<'_>,
    values: Values,
    key: &'a [u8],
    version: &Version<'v>,
) -> Outcome<KeyValue<'a>> {
    let mut pair = version.pair(key);
    if request.keys_only {
        pair.value_length = 0;
        if request.sort_target != SortTarget::Value {
            pair.lease = 0;
        }
    } else if values == Values::Loaded {
        pair.value = version.value(view)?;
    }
    Ok(pair)
}

/// The version that was found at a revision, in a later slice.
pub(crate) fn found_version<V: View>(
    view: &V,
    revision: super::Revision,
    compacted: i64,
) -> Outcome<Version<'_>> {
    match version_from(view, revision, compacted)? {
        Some(version) => Ok(version),
        None => error::bad_record(TreeId::Revisions, &revision.key(), "it is missing"),
    }
}
