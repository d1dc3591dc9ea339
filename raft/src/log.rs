//! The log as the core sees it: terms of all entries, the data of the recent ones.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::entry::{Entry, LogPoint};

/// An entry in memory and where its bytes end when all entries are laid end to end, so that the size
/// of any stretch is one subtraction.
#[derive(Debug)]
struct Slot {
    entry: Entry,
    end: u64,
}

/// Entries from `start` (exclusive) to the last one. The term of each is always known, from a list of
/// runs of equal terms; the entries themselves may have left memory at the front.
#[derive(Debug)]
pub(crate) struct Log {
    start: LogPoint,
    /// First point of each run of equal terms above `start`.
    runs: VecDeque<LogPoint>,
    memory: VecDeque<Slot>,
    /// Index of the first slot; one past the last entry if there is none.
    memory_first: u64,
    /// First index that the host was not yet told to write.
    unwritten: u64,
}

impl Log {
    /// A log recovered from disk, all of which is written. The parts are checked already.
    pub(crate) fn recovered(start: LogPoint, terms: Vec<LogPoint>, entries: Vec<Entry>) -> Self {
        let first = entries.first().map_or(start.index + 1, |entry| entry.index);
        let mut log = Self {
            start,
            runs: terms.into(),
            memory: VecDeque::with_capacity(entries.len()),
            memory_first: first,
            unwritten: first,
        };
        for entry in entries {
            log.push(entry);
        }
        log.unwritten = log.last_index() + 1;
        log
    }

    pub(crate) fn start(&self) -> LogPoint {
        self.start
    }

    pub(crate) fn memory_first(&self) -> u64 {
        self.memory_first
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.memory_first + self.memory.len() as u64 - 1
    }

    pub(crate) fn last(&self) -> LogPoint {
        LogPoint {
            index: self.last_index(),
            term: self.runs.back().map_or(self.start.term, |run| run.term),
        }
    }

    /// The term at `index`, from the start point to the last entry.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index < self.start.index || index > self.last_index() {
            return None;
        }
        Some(match self.runs.back() {
            Some(run) if run.index <= index => run.term,
            _ => match self
                .runs
                .partition_point(|run| run.index <= index)
                .checked_sub(1)
            {
                Some(place) => self.runs[place].term,
                None => self.start.term,
            },
        })
    }

    /// The last point at or below `index` whose term is at most `term`; the start point if none.
    pub(crate) fn last_with_term_up_to(&self, index: u64, term: u64) -> LogPoint {
        let index = index.min(self.last_index());
        if index <= self.start.index {
            return self.start;
        }
        let mut end = index;
        let below = self.runs.partition_point(|run| run.index <= index);
        for run in self.runs.range(..below).rev() {
            if run.term <= term {
                return LogPoint {
                    index: end,
                    term: run.term,
                };
            }
            end = run.index - 1;
        }
        self.start
    }

    /// Adds the next entry.
    pub(crate) fn push(&mut self, entry: Entry) {
        let last = self.last();
        assert!(
            entry.index == last.index + 1,
            "entries are appended without gaps"
        );
        assert!(entry.term >= last.term, "terms never fall along the log");
        if self.runs.back().is_none_or(|run| run.term != entry.term) {
            self.runs.push_back(entry.point());
        }
        let end = self.memory.back().map_or(0, |slot| slot.end) + entry.size();
        self.memory.push_back(Slot { entry, end });
    }

    /// Drops `index` and everything after it.
    pub(crate) fn truncate(&mut self, index: u64) {
        assert!(
            index > self.start.index,
            "what is compacted cannot be superseded"
        );
        self.memory
            .truncate(index.saturating_sub(self.memory_first) as usize);
        self.memory_first = self.memory_first.min(index);
        while self.runs.back().is_some_and(|run| run.index >= index) {
            self.runs.pop_back();
        }
        self.unwritten = self.unwritten.min(index);
    }

    /// Forgets everything and begins anew after a snapshot.
    pub(crate) fn reset(&mut self, start: LogPoint) {
        self.start = start;
        self.runs.clear();
        self.memory.clear();
        self.memory_first = start.index + 1;
        self.unwritten = self.memory_first;
    }

    /// Moves the start up to `index`, which is in the log.
    pub(crate) fn compact(&mut self, index: u64) {
        let Some(term) = self.term(index) else { return };
        self.start = LogPoint { index, term };
        while let Some(run) = self.runs.front().copied() {
            let run_ends = self
                .runs
                .get(1)
                .map_or(self.last_index(), |next| next.index - 1);
            if run_ends <= index {
                self.runs.pop_front();
                continue;
            }
            if run.index <= index {
                self.runs[0] = LogPoint {
                    index: index + 1,
                    term: run.term,
                };
            }
            break;
        }
        while self.memory_first <= index && self.memory.pop_front().is_some() {
            self.memory_first += 1;
        }
        self.memory_first = self.memory_first.max(index + 1);
    }

    /// Lets go of the oldest entries, none above `up_to`, until at most `bound` bytes remain.
    pub(crate) fn evict(&mut self, up_to: u64, bound: u64) {
        let Some(end) = self.memory.back().map(|slot| slot.end) else {
            return;
        };
        while let Some(slot) = self.memory.front() {
            let bytes = end - slot.end + slot.entry.size();
            if bytes <= bound || slot.entry.index > up_to {
                return;
            }
            self.memory.pop_front();
            self.memory_first += 1;
        }
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        self.memory
            .get(index.checked_sub(self.memory_first)? as usize)
    }

    /// Bytes of the entries `first..=last` as far as they are in memory.
    pub(crate) fn bytes(&self, first: u64, last: u64) -> u64 {
        let Some(end) = self.slot(last.min(self.last_index())) else {
            return 0;
        };
        let Some(begin) = self.slot(first.max(self.memory_first)) else {
            return 0;
        };
        (end.end + begin.entry.size()).saturating_sub(begin.end)
    }

    /// The last index of a batch that begins at `first` (in memory), ends at or before `last` and has
    /// at most `max_bytes`, except that the first entry is always part of it.
    pub(crate) fn batch_end(&self, first: u64, last: u64, max_bytes: u64) -> u64 {
        let last = last.min(self.last_index());
        let Some(begin) = self.slot(first) else {
            return first;
        };
        let limit = (begin.end - begin.entry.size()).saturating_add(max_bytes);
        if self.slot(last).is_some_and(|slot| slot.end <= limit) {
            return last;
        }
        let fitting = self.memory.partition_point(|slot| slot.end <= limit) as u64;
        (self.memory_first + fitting)
            .saturating_sub(1)
            .clamp(first, last)
    }

    fn entries(&self, first: u64, last: u64) -> impl ExactSizeIterator<Item = &Entry> {
        assert!(
            first >= self.memory_first && last <= self.last_index(),
            "entries are in memory"
        );
        let begin = (first - self.memory_first) as usize;
        let end = (last + 1 - self.memory_first) as usize;
        self.memory
            .range(begin..end.max(begin))
            .map(|slot| &slot.entry)
    }

    /// Shares the entries `first..=last`, which are in memory.
    pub(crate) fn share(&self, first: u64, last: u64) -> Arc<[Entry]> {
        self.entries(first, last).cloned().collect()
    }

    /// Copies the entries `first..=last`, which are in memory, to the end of `into`.
    pub(crate) fn copy(&self, first: u64, last: u64, into: &mut Vec<Entry>) {
        into.extend(self.entries(first, last).cloned());
    }

    /// Copies what the host was not yet told to write, and counts it as told.
    pub(crate) fn take_unwritten(&mut self, into: &mut Vec<Entry>) {
        let (first, last) = (self.unwritten, self.last_index());
        if first <= last {
            self.copy(first, last, into);
            self.unwritten = last + 1;
        }
    }
}
