//! The conditions of transactions.

use std::cmp::Ordering;

use super::history::{ReadPoint, Version};
use super::step::{Budget, Step};
use super::walk::{Course, Flow, Walk, single_version};
use crate::btree::View;
use crate::command::{Compare, CompareTarget, Interval};
use crate::pages::Outcome;

/// Where the conditions of one transaction stand between slices.
#[derive(Debug, Default)]
pub(crate) struct Compares {
    next: usize,
    walk: Walk,
    /// Whether the interval of the condition at `next` holds a key.
    found: bool,
}

impl Compares {
    /// Whether all conditions hold. They are looked at in order, up to the first that does not.
    pub(crate) fn step<V: View>(
        &mut self,
        view: &V,
        compares: &[Compare<'_>],
        point: ReadPoint,
        budget: &mut Budget,
    ) -> Outcome<Step<bool>> {
        while let Some(compare) = compares.get(self.next) {
            if !budget.take() {
                return Ok(Step::Yield);
            }
            let holds = match compare.interval() {
                Interval::Key(key) => {
                    let version = single_version(view, key, point.current, point)?;
                    holds(view, compare, version.as_ref())?
                }
                interval => match self.interval(view, compare, interval, point, budget)? {
                    Step::Done(holds) => holds,
                    other => return Ok(other),
                },
            };
            if !holds {
                return Ok(Step::Done(false));
            }
            *self = Self {
                next: self.next + 1,
                ..Self::default()
            };
        }
        Ok(Step::Done(true))
    }

    /// The condition must hold for every key of the interval; an interval without keys counts as
    /// one absent key.
    fn interval<V: View>(
        &mut self,
        view: &V,
        compare: &Compare<'_>,
        interval: Interval<'_>,
        point: ReadPoint,
        budget: &mut Budget,
    ) -> Outcome<Step<bool>> {
        let course = Course {
            interval,
            backward: false,
            at: point.current,
            point,
        };
        let found = &mut self.found;
        let step = self
            .walk
            .step(view, &course, budget, &mut |view, _, version| {
                let holds = holds(view, compare, Some(&version))?;
                *found = true;
                Ok(if holds { Flow::Continue } else { Flow::Stop })
            })?;
        Ok(match step {
            Step::Done(Flow::Stop) => Step::Done(false),
            Step::Done(Flow::Continue) if self.found => Step::Done(true),
            Step::Done(Flow::Continue) => Step::Done(holds(view, compare, None)?),
            Step::Refused(refusal) => Step::Refused(refusal),
            Step::Yield => Step::Yield,
        })
    }
}

/// Whether the condition holds for one key, or for an absent one: that reads as all zeros, but a
/// comparison with its value never holds.
fn holds<'v, V: View>(
    view: &'v V,
    compare: &Compare<'_>,
    version: Option<&Version<'v>>,
) -> Outcome<bool> {
    let number = |of: fn(&Version<'v>) -> i64| version.map_or(0, of);
    let ordering = match compare.target {
        CompareTarget::Version(operand) => number(|v| v.version).cmp(&operand),
        CompareTarget::Create(operand) => number(|v| v.create).cmp(&operand),
        CompareTarget::Mod(operand) => number(|v| v.modified.main).cmp(&operand),
        CompareTarget::Lease(operand) => number(|v| v.lease).cmp(&operand),
        CompareTarget::Value(operand) => match version {
            Some(version) => version.value(view)?.cmp(operand),
            None => return Ok(false),
        },
        CompareTarget::Unknown => Ordering::Equal,
    };
    Ok(compare.relation.holds(ordering))
}
