//! Deleting many keys as one revision, in slices.
//!
//! Keys are gathered in small batches, because nothing can be changed while a cursor stands in the
//! tree, and to seek anew for each key would cost as much again as deleting it. A batch is kept in
//! the task, so that a change that has to be made again finds its key even when the row that led to
//! it (the attachment to a lease) is already gone.

use super::Writer;
use super::apply::Context;
use super::key_value::KeyValues;
use super::step::Step;
use crate::btree::{Entry, TreeId, View};
use crate::command::Interval;
use crate::lease;
use crate::pages::Outcome;

/// Keys gathered at once.
const BATCH_KEYS: usize = 64;

/// Bytes of keys gathered at once, the last one not counted.
const BATCH_BYTES: usize = 64 << 10;

/// A deletion between slices.
#[derive(Debug, Default)]
pub(crate) struct Deletes {
    keys: Vec<u8>,
    ends: Vec<usize>,
    next: usize,
    /// Where the next batch begins, once there was one.
    resume: Option<Vec<u8>>,
    exhausted: bool,
    deleted: i64,
}

impl Deletes {
    /// Keys deleted so far.
    pub(crate) fn deleted(&self) -> i64 {
        self.deleted
    }

    /// Deletes the keys of an interval, and appends their pairs to `previous` if asked for.
    pub(crate) fn step<W: Writer>(
        &mut self,
        interval: &Interval<'_>,
        context: &mut Context<'_, W>,
        mut previous: Option<&mut KeyValues>,
    ) -> Outcome<Step<()>> {
        if let Interval::Key(key) = *interval {
            self.deleted += i64::from(context.delete(key, previous)?);
            return Ok(Step::Done(()));
        }
        loop {
            if !self.delete_batch(context, previous.as_deref_mut())? {
                return Ok(Step::Yield);
            }
            if self.exhausted {
                return Ok(Step::Done(()));
            }
            self.gather(context.store, interval)?;
        }
    }

    /// Deletes the keys attached to a lease.
    pub(crate) fn step_lease<W: Writer>(
        &mut self,
        lease: i64,
        context: &mut Context<'_, W>,
    ) -> Outcome<Step<()>> {
        loop {
            if !self.delete_batch(context, None)? {
                return Ok(Step::Yield);
            }
            if self.exhausted {
                return Ok(Step::Done(()));
            }
            self.gather_attached(context.store, lease)?;
        }
    }

    /// Deletes what was gathered; false if the budget was spent before.
    fn delete_batch<W: Writer>(
        &mut self,
        context: &mut Context<'_, W>,
        mut previous: Option<&mut KeyValues>,
    ) -> Outcome<bool> {
        while let Some(&end) = self.ends.get(self.next) {
            if !context.budget.take() {
                return Ok(false);
            }
            let start = match self.next {
                0 => 0,
                next => self.ends.get(next - 1).copied().unwrap_or(end),
            };
            let key = self.keys.get(start..end).unwrap_or_default();
            self.deleted += i64::from(context.delete(key, previous.as_deref_mut())?);
            self.next += 1;
        }
        Ok(true)
    }

    /// Gathers live keys of the interval from where the last batch ended.
    fn gather(&mut self, view: &impl View, interval: &Interval<'_>) -> Outcome<()> {
        let resume = self.resume.take();
        let start = resume.as_deref().unwrap_or(interval.start());
        let mut batch = Batch::default();
        let mut cursor = view.cursor(TreeId::Keys);
        let outcome = (|| {
            let mut entry = match interval.is_empty() {
                true => None,
                false => cursor.seek_live(start)?,
            };
            while let Some(here) = live_key(entry, interval)? {
                if !batch.push(here) {
                    return Ok(());
                }
                entry = cursor.next_live()?;
            }
            batch.exhausted = true;
            Ok(())
        })();
        self.take_batch(outcome, batch, resume)
    }

    /// Gathers keys attached to the lease from where the last batch ended.
    fn gather_attached(&mut self, view: &impl View, lease: i64) -> Outcome<()> {
        let prefix = lease::lease_row_key(lease);
        let resume = self.resume.take();
        let mut start = prefix.to_vec();
        start.extend_from_slice(resume.as_deref().unwrap_or_default());
        let mut batch = Batch::default();
        let mut cursor = view.cursor(TreeId::LeaseKeys);
        let outcome = (|| {
            let mut entry = cursor.seek(&start)?;
            while let Some(here) = entry {
                let Some(key) = here.key()?.strip_prefix(&prefix[..]) else {
                    break;
                };
                if !batch.push(key) {
                    return Ok(());
                }
                entry = cursor.next()?;
            }
            batch.exhausted = true;
            Ok(())
        })();
        self.take_batch(outcome, batch, resume)
    }

    fn take_batch(
        &mut self,
        outcome: Outcome<()>,
        batch: Batch,
        resume: Option<Vec<u8>>,
    ) -> Outcome<()> {
        if outcome.is_err() && batch.ends.is_empty() {
            self.resume = resume;
            return outcome;
        }
        // What was gathered before a page was missing is a batch too.
        self.resume = batch.successor();
        self.exhausted = batch.exhausted;
        self.keys = batch.keys;
        self.ends = batch.ends;
        self.next = 0;
        Ok(())
    }
}

fn live_key<'v>(entry: Option<Entry<'v>>, interval: &Interval<'_>) -> Outcome<Option<&'v [u8]>> {
    let Some(entry) = entry else {
        return Ok(None);
    };
    let key = entry.key()?;
    Ok((!interval.is_beyond(key)).then_some(key))
}

#[derive(Debug, Default)]
struct Batch {
    keys: Vec<u8>,
    ends: Vec<usize>,
    exhausted: bool,
}

impl Batch {
    /// False if the batch is full and the key was not taken.
    fn push(&mut self, key: &[u8]) -> bool {
        if self.ends.len() == BATCH_KEYS || self.keys.len() >= BATCH_BYTES {
            return false;
        }
        self.keys.extend_from_slice(key);
        self.ends.push(self.keys.len());
        true
    }

    /// The smallest key after the last one gathered.
    fn successor(&self) -> Option<Vec<u8>> {
        let end = *self.ends.last()?;
        let start = match self.ends.len() {
            1 => 0,
            count => *self.ends.get(count - 2)?,
        };
        let mut successor = self.keys.get(start..end)?.to_vec();
        successor.push(0);
        Some(successor)
    }
}
