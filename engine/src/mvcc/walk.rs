//! Walking over the keys of an interval as of a revision, in slices.

use super::history::{ReadPoint, Version, current_version, decode_key_row, key_row, version_at};
use super::step::{Budget, Step};
use crate::btree::{Cursor, Entry, TreeId, View};
use crate::command::Interval;
use crate::pages::Outcome;

/// What a visit says about the rest of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Stop,
}

/// What a walk goes over, and as of when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course<'r> {
    pub(crate) interval: Interval<'r>,
    /// From the greatest key to the smallest.
    pub(crate) backward: bool,
    /// The main revision to read at.
    pub(crate) at: i64,
    pub(crate) point: ReadPoint,
}

impl Course<'_> {
    /// Whether the walk reads the present: then deleted keys are skipped by the tree's counts.
    pub(crate) fn is_present(&self) -> bool {
        self.at == self.point.current
    }
}

/// Where a walk stands between slices: behind the last key that was dealt with.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    resume: Vec<u8>,
    started: bool,
    /// Rows looked at so far, those of keys that did not exist included.
    pub(crate) rows: u64,
}

impl Walk {
    /// Visits the keys that existed, in order. A visit that fails is made again when the walk goes
    /// on. Done when the interval is exhausted or a visit says stop.
    pub(crate) fn step<'v, V: View>(
        &mut self,
        view: &'v V,
        course: &Course<'_>,
        budget: &mut Budget,
        visit: &mut dyn FnMut(&'v V, &'v [u8], Version<'v>) -> Outcome<Flow>,
    ) -> Outcome<Step<Flow>> {
        let mut last = None;
        let outcome = self.walk(view, course, budget, visit, &mut last);
        if let Some(last) = last
            && !matches!(outcome, Ok(Step::Done(_)))
        {
            self.resume.clear();
            self.resume.extend_from_slice(last);
            self.started = true;
        }
        outcome
    }

    fn walk<'v, V: View>(
        &mut self,
        view: &'v V,
        course: &Course<'_>,
        budget: &mut Budget,
        visit: &mut dyn FnMut(&'v V, &'v [u8], Version<'v>) -> Outcome<Flow>,
        last: &mut Option<&'v [u8]>,
    ) -> Outcome<Step<Flow>> {
        if course.interval.is_empty() {
            return Ok(Step::Done(Flow::Continue));
        }
        let mut cursor = view.cursor(TreeId::Keys);
        let mut entry = self.begin(&mut cursor, course)?;
        while let Some(here) = entry {
            let key = here.key()?;
            if is_past(course, key) {
                break;
            }
            if !budget.take() {
                return Ok(Step::Yield);
            }
            if let Some(version) = version_here(view, course, key, &here)?
                && visit(view, key, version)? == Flow::Stop
            {
                return Ok(Step::Done(Flow::Stop));
            }
            self.rows += 1;
            *last = Some(key);
            entry = advance(&mut cursor, course)?;
        }
        Ok(Step::Done(Flow::Continue))
    }

    /// The first entry to look at.
    fn begin<'v>(
        &self,
        cursor: &mut Cursor<'v>,
        course: &Course<'_>,
    ) -> Outcome<Option<Entry<'v>>> {
        let first = match (self.started, course.backward, course.interval) {
            (true, false, _) if course.is_present() => cursor.seek_live(&self.resume)?,
            (true, false, _) => cursor.seek(&self.resume)?,
            (true, true, _) => cursor.seek_at_or_before(&self.resume)?,
            (false, false, interval) if course.is_present() => {
                cursor.seek_live(interval.start())?
            }
            (false, false, interval) => cursor.seek(interval.start())?,
            (false, true, Interval::From(_)) => cursor.last()?,
            (false, true, Interval::Range(_, to)) => {
                // The end does not belong to the interval.
                return match cursor.seek_at_or_before(to)? {
                    Some(entry) if entry.key()? == to => cursor.previous(),
                    entry => Ok(entry),
                };
            }
            (false, true, Interval::Key(key)) => cursor.seek_at_or_before(key)?,
        };
        match first {
            // The last key of the slice before has been dealt with.
            Some(entry) if self.started && entry.key()? == self.resume => advance(cursor, course),
            first => Ok(first),
        }
    }
}

fn advance<'v>(cursor: &mut Cursor<'v>, course: &Course<'_>) -> Outcome<Option<Entry<'v>>> {
    if course.backward {
        cursor.previous()
    } else if course.is_present() {
        cursor.next_live()
    } else {
        cursor.next()
    }
}

/// Whether the key lies beyond the interval, in the direction of the walk.
fn is_past(course: &Course<'_>, key: &[u8]) -> bool {
    if course.backward {
        key < course.interval.start()
    } else {
        course.interval.is_beyond(key)
    }
}

fn version_here<'v, V: View>(
    view: &'v V,
    course: &Course<'_>,
    key: &[u8],
    entry: &Entry<'v>,
) -> Outcome<Option<Version<'v>>> {
    let row = decode_key_row(key, entry.record())?;
    if course.is_present() {
        return Ok(current_version(&row));
    }
    version_at(view, key, &row, course.at, course.point.compacted)
}

/// The version of a single key as of a revision.
pub(crate) fn single_version<'v, V: View>(
    view: &'v V,
    key: &[u8],
    at: i64,
    point: ReadPoint,
) -> Outcome<Option<Version<'v>>> {
    match key_row(view, key, point.compacted)? {
        None => Ok(None),
        Some(row) => version_at(view, key, &row, at, point.compacted),
    }
}
