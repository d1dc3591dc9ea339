//! How many keys an interval held at a revision.

use super::error;
use super::history::{changed_key, decode_revision_row};
use super::revision::Revision;
use super::revision_row::{ChangeKind, RevisionRow};
use super::step::{Budget, Step};
use super::walk::{Course, Flow, Walk, single_version};
use crate::btree::{Record, TreeId, View};
use crate::command::Interval;
use crate::pages::Outcome;

/// Looking up an older version costs about as much as reading so many changes in a row.
const CHANGES_PER_LOOKUP: u64 = 8;

/// Counts keys, in slices.
///
/// At the current revision the tree's counts answer. At an older one there are two ways: walk over
/// the keys and look each up; or take the count of now and undo what the changes since then did to
/// it. The cheaper is chosen by what the counts tell; since they do not tell of tombstones, a walk
/// that turns out longer than the changes gives way to them.
#[derive(Debug, Default)]
pub(crate) struct Count {
    way: Way,
}

#[derive(Debug, Default)]
enum Way {
    #[default]
    Undecided,
    Walk {
        walk: Walk,
        found: i64,
        rows_limit: u64,
    },
    Changes {
        next: Revision,
        last: i64,
        count: i64,
    },
}

impl Count {
    pub(crate) fn step<V: View>(
        &mut self,
        view: &V,
        course: &Course<'_>,
        budget: &mut Budget,
    ) -> Outcome<Step<i64>> {
        if let Interval::Key(key) = course.interval {
            let version = single_version(view, key, course.at, course.point)?;
            return Ok(Step::Done(i64::from(version.is_some())));
        }
        if matches!(self.way, Way::Undecided) {
            let now = count_now(view, &course.interval)?;
            if course.is_present() {
                return Ok(Step::Done(now));
            }
            self.decide(view, course, now)?;
        }
        if let Way::Walk { rows_limit, .. } = self.way
            && let Some(step) = self.walk(view, course, rows_limit, budget)?
        {
            return Ok(step);
        }
        self.undo_changes(view, course, budget)
    }

    fn decide<V: View>(&mut self, view: &V, course: &Course<'_>, now: i64) -> Outcome<()> {
        let since = Revision::new(course.at + 1, 0).key();
        let changes = view.count_live(TreeId::Revisions, &since, None)?;
        let lookups = now.unsigned_abs().saturating_mul(CHANGES_PER_LOOKUP);
        self.way = if lookups < changes {
            Way::Walk {
                walk: Walk::default(),
                found: 0,
                rows_limit: changes,
            }
        } else {
            self.changes_since(course, now)
        };
        Ok(())
    }

    fn changes_since(&self, course: &Course<'_>, now: i64) -> Way {
        Way::Changes {
            next: Revision::new(course.at + 1, 0),
            last: course.point.current,
            count: now,
        }
    }

    /// `None` when the walk has been given up.
    fn walk<V: View>(
        &mut self,
        view: &V,
        course: &Course<'_>,
        rows_limit: u64,
        budget: &mut Budget,
    ) -> Outcome<Option<Step<i64>>> {
        let Way::Walk { walk, found, .. } = &mut self.way else {
            return Ok(None);
        };
        while walk.rows <= rows_limit {
            // A slice at a time, so that the limit is looked at again.
            let mut slice = Budget::new(budget.left().min(1024));
            let step = walk.step(view, course, &mut slice, &mut |_, _, _| {
                *found += 1;
                Ok(Flow::Continue)
            })?;
            if let Step::Done(_) = step {
                return Ok(Some(Step::Done(*found)));
            }
            if !budget.take_all(1024) {
                return Ok(Some(Step::Yield));
            }
        }
        let now = count_now(view, &course.interval)?;
        self.way = self.changes_since(course, now);
        Ok(None)
    }

    fn undo_changes<V: View>(
        &mut self,
        view: &V,
        course: &Course<'_>,
        budget: &mut Budget,
    ) -> Outcome<Step<i64>> {
        let Way::Changes { next, last, count } = &mut self.way else {
            unreachable!("the way has been decided");
        };
        let mut cursor = view.cursor(TreeId::Revisions);
        let mut entry = cursor.seek(&next.key())?;
        while let Some(here) = entry {
            let key = here.key()?;
            let Some(revision) = Revision::from_key(key) else {
                return error::bad_record(TreeId::Revisions, key, "the key is no revision");
            };
            if revision.main > *last {
                break;
            }
            if !budget.take() {
                return Ok(Step::Yield);
            }
            if !RevisionRow::is_plain_put(here.record().inline()) {
                *count += effect(course, revision, here.record())?;
            }
            *next = Revision::new(revision.main, revision.sub + 1);
            entry = cursor.next()?;
        }
        Ok(Step::Done(*count))
    }
}

/// What has to be added to a count to undo a change.
fn effect(course: &Course<'_>, revision: Revision, record: Record<'_>) -> Outcome<i64> {
    let change = decode_revision_row(revision, record)?;
    if !course
        .interval
        .contains(changed_key(revision, record, &change)?)
    {
        return Ok(0);
    }
    Ok(match change.kind {
        ChangeKind::Create => -1,
        ChangeKind::Put => 0,
        ChangeKind::Delete => 1,
    })
}

/// The keys that exist now.
fn count_now<V: View>(view: &V, interval: &Interval<'_>) -> Outcome<i64> {
    let (from, to) = match *interval {
        Interval::Range(from, to) if from >= to => return Ok(0),
        Interval::Range(from, to) => (from, Some(to)),
        Interval::From(from) => (from, None),
        Interval::Key(_) => unreachable!("single keys are looked up"),
    };
    let count = view.count_live(TreeId::Keys, from, to)?;
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}
