//! Reading past events back, for watchers that start in the past or have fallen behind.

use super::error;
use super::events::{Event, encode_event};
use super::history::{changed_key, decode_revision_row, made_version};
use super::key_value::KeyValue;
use super::revision::Revision;
use super::state::State;
use super::step::{Budget, Step};
use crate::btree::{TreeId, View};
use crate::command::{Interval, Refusal};
use crate::pages::Outcome;
use crate::planted::{PlantedBug, is_planted};
use std::ops::ControlFlow;

/// Reads the events of an interval of keys, from one main revision to another, in order.
///
/// Several watchers can share one scan over an interval that holds all of theirs. Views may get
/// newer from slice to slice.
#[derive(Debug)]
pub struct WatchScan<'r> {
    interval: Interval<'r>,
    next: Revision,
    last: i64,
    revisions_limit: usize,
    revisions: usize,
    newest: i64,
    message: Vec<u8>,
}

/// Who reads a scan.
pub trait Observer {
    /// Whether a change of this key is of interest. The value of one that is not is not read.
    fn wants(&mut self, key: &[u8]) -> bool;

    /// Takes an event; with `Break` the scan ends before the next main revision.
    ///
    /// # Errors
    /// If something is missing the scan stops before this event, and brings it again when it goes on.
    fn take(&mut self, event: &Event<'_>) -> Outcome<ControlFlow<()>>;
}

/// An observer of everything.
struct Everything<'s>(&'s mut dyn FnMut(&Event<'_>));

impl Observer for Everything<'_> {
    fn wants(&mut self, _key: &[u8]) -> bool {
        true
    }

    fn take(&mut self, event: &Event<'_>) -> Outcome<ControlFlow<()>> {
        (self.0)(event);
        Ok(ControlFlow::Continue(()))
    }
}

/// How far a scan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanSummary {
    /// The first main revision that was not looked at: where the next scan begins.
    pub next: i64,
    /// How many main revisions had events in the interval.
    pub revisions: usize,
}

impl<'r> WatchScan<'r> {
    /// A scan from main revision `first` to `last` (both included) that ends early when
    /// `revisions_limit` main revisions have had events in the interval. A revision is never split.
    #[must_use]
    pub fn new(interval: Interval<'r>, first: i64, last: i64, revisions_limit: usize) -> Self {
        Self {
            interval,
            next: Revision::new(first.max(0), 0),
            last,
            revisions_limit: revisions_limit.max(1),
            revisions: 0,
            newest: 0,
            message: Vec::new(),
        }
    }

    /// Goes on, and hands events to `sink` in order, each once. It is refused if the next revision
    /// lies before the compacted one. For `prev_kv` call [`super::previous_pair`].
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn step<V: View>(
        &mut self,
        view: &V,
        budget: &mut Budget,
        sink: &mut dyn FnMut(&Event<'_>),
    ) -> Outcome<Step<ScanSummary>> {
        self.step_for(view, budget, &mut Everything(sink))
    }

    /// As [`step`](Self::step), for an observer that may pass over changes and may have enough.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop), be it the observer's. The scan can go on where it stopped.
    pub fn step_for<V: View>(
        &mut self,
        view: &V,
        budget: &mut Budget,
        observer: &mut dyn Observer,
    ) -> Outcome<Step<ScanSummary>> {
        let state = State::load(view)?;
        if self.next.main < state.compacted {
            return Ok(Step::Refused(Refusal::Compacted {
                compacted: state.compacted,
            }));
        }
        let last = self.last.min(state.revision);
        let mut cursor = view.cursor(TreeId::Revisions);
        let mut entry = cursor.seek(&self.next.key())?;
        while let Some(here) = entry {
            let key = here.key()?;
            let Some(revision) = Revision::from_key(key) else {
                return error::bad_record(TreeId::Revisions, key, "the key is no revision");
            };
            if revision.main > last {
                break;
            }
            let full = self.revisions == self.revisions_limit && revision.main != self.newest;
            if full {
                return Ok(self.summary(revision.main));
            }
            if !budget.take() {
                if is_planted(PlantedBug::WatchEventLost) && self.next.sub > 0 {
                    self.next = Revision::new(self.next.main + 1, 0);
                }
                return Ok(Step::Yield);
            }
            self.visit(view, revision, here.record(), observer)?;
            self.next = Revision::new(revision.main, revision.sub + 1);
            entry = cursor.next()?;
        }
        // Never backwards: a start in the future stays there.
        let next = last.saturating_add(1).max(self.next.main);
        Ok(self.summary(next))
    }

    fn summary(&self, next: i64) -> Step<ScanSummary> {
        Step::Done(ScanSummary {
            next,
            revisions: self.revisions,
        })
    }

    fn visit<'v, V: View>(
        &mut self,
        view: &'v V,
        revision: Revision,
        record: crate::btree::Record<'v>,
        observer: &mut dyn Observer,
    ) -> Outcome<()> {
        let change = decode_revision_row(revision, record)?;
        let key = changed_key(revision, record, &change)?;
        if !self.interval.contains(key) || !observer.wants(key) {
            return Ok(());
        }
        let pair = match made_version(revision, record, &change) {
            Some(version) => {
                let value = version.value(view)?;
                KeyValue {
                    value,
                    ..version.pair(key)
                }
            }
            None => KeyValue {
                key,
                mod_revision: revision.main,
                ..KeyValue::default()
            },
        };
        self.message.clear();
        encode_event(&mut self.message, change.kind, &pair);
        if self.revisions == 0 || self.newest != revision.main {
            self.revisions += 1;
            self.newest = revision.main;
        }
        let appetite = observer.take(&Event {
            revision,
            kind: change.kind,
            previous: change.previous,
            key,
            message: &self.message,
        })?;
        if appetite.is_break() {
            self.revisions_limit = self.revisions;
        }
        Ok(())
    }
}
