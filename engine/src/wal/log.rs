//! The log as its reader sees it: which indexes it holds, in which terms, and the newest entries.

use std::collections::VecDeque;

use bytes::Bytes;

use super::AppendError;
use super::record::{Entry, HardState, Head, Record, SnapshotPoint};

/// What an entry costs in memory beside its data.
const ENTRY_OVERHEAD: usize = std::mem::size_of::<Entry>();

/// The logical log, with everything that has been appended, durable or not.
#[derive(Debug)]
pub(super) struct Log {
    /// First index held. Without entries it is one above `last`.
    first: u64,
    last: u64,
    /// The term of the entry before `first`, where known.
    prior_term: Option<u64>,
    /// Runs of entries of one term: the first index of each, ascending.
    runs: VecDeque<Run>,
    /// The newest entries, up to `last` without gap.
    cached: VecDeque<Entry>,
    cached_bytes: usize,
    pub(super) hard_state: HardState,
    pub(super) configuration: Bytes,
    pub(super) snapshot: SnapshotPoint,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    term: u64,
}

impl Log {
    /// The log as a segment's head tells it, without entries.
    pub(super) fn from_head(head: &Head) -> Self {
        Self {
            first: head.last_index + 1,
            last: head.last_index,
            prior_term: Some(head.last_term),
            runs: VecDeque::new(),
            cached: VecDeque::new(),
            cached_bytes: 0,
            hard_state: head.hard_state,
            configuration: Bytes::copy_from_slice(&head.configuration),
            snapshot: copied(&head.snapshot),
        }
    }

    /// What the head of a segment that began now would say.
    pub(super) fn head(&self) -> Head {
        Head {
            hard_state: self.hard_state,
            last_index: self.last,
            last_term: self.term_of(self.last).unwrap_or(0),
            snapshot: self.snapshot.clone(),
            configuration: self.configuration.clone(),
        }
    }

    pub(super) fn first_index(&self) -> u64 {
        self.first
    }

    pub(super) fn last_index(&self) -> u64 {
        self.last
    }

    /// The first entry kept in memory; one above the last if there is none.
    pub(super) fn cached_from(&self) -> u64 {
        self.last + 1 - self.cached.len() as u64
    }

    pub(super) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// The term of the entry at an index, if the log knows it: of all it holds, of the one before, and
    /// of the snapshot point.
    pub(super) fn term_of(&self, index: u64) -> Option<u64> {
        if index >= self.first && index <= self.last {
            let after = self.runs.partition_point(|run| run.first <= index);
            return self.runs.get(after.checked_sub(1)?).map(|run| run.term);
        }
        let prior = self.prior_term.filter(|_| index + 1 == self.first);
        prior.or_else(|| (index == self.snapshot.index).then_some(self.snapshot.term))
    }

    /// The first index and the term of each run of entries of one term, from the log's first entry on.
    pub(super) fn term_runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = self.first;
        let run = move |run: &Run| (run.first.max(first), run.term);
        self.runs.iter().map(run)
    }

    /// Entries from the memory, `from` up to but without `to`, until they exceed `max_bytes` (one at
    /// least). `from` must be cached.
    pub(super) fn cached(&self, from: u64, to: u64, max_bytes: usize) -> Vec<Entry> {
        let start = from.saturating_sub(self.cached_from()) as usize;
        let count = to.min(self.last + 1).saturating_sub(from) as usize;
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in self.cached.iter().skip(start).take(count) {
            bytes += entry.data.len();
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }

    /// Whether an entry may be appended.
    pub(super) fn check_entry(&self, index: u64, term: u64) -> Result<(), AppendError> {
        if index < self.first || index > self.last + 1 {
            let (first, last) = (self.first, self.last);
            return Err(AppendError::Disconnected { index, first, last });
        }
        if index <= self.snapshot.index {
            return Err(AppendError::Settled {
                index,
                snapshot: self.snapshot.index,
            });
        }
        let previous = self.term_of(index - 1).unwrap_or(0);
        if term < previous {
            return Err(AppendError::TermBackwards {
                index,
                term,
                previous,
            });
        }
        Ok(())
    }

    /// Whether a snapshot point discards the entries: the log does not hold the entry it names.
    /// Entries up to a point below the log have been truncated: they were there.
    pub(super) fn is_reset_by(&self, point: &SnapshotPoint) -> bool {
        if point.index + 1 < self.first {
            return false;
        }
        self.term_of(point.index) != Some(point.term) || point.index > self.last
    }

    /// Applies a record that has been checked.
    pub(super) fn apply(&mut self, record: Record, resets: bool) {
        match record {
            Record::Entry(entry) => self.push(entry),
            Record::HardState(state) => self.hard_state = state,
            Record::Configuration(bytes) => self.configuration = bytes,
            Record::SnapshotPoint(point) => {
                // The point replaced may be all that tells this term.
                self.prior_term = self.term_of(self.first - 1);
                if resets {
                    self.cut(self.first);
                    self.first = point.index + 1;
                    self.last = point.index;
                    self.prior_term = Some(point.term);
                }
                self.snapshot = point;
            }
        }
    }

    /// Applies a record found on disk; false if it does not connect.
    pub(super) fn replay(&mut self, record: Record, resets: bool) -> bool {
        match &record {
            Record::Entry(entry) if entry.index == 0 => return false,
            Record::Entry(entry) if entry.index < self.first => {
                // It supersedes entries that stood in segments now gone.
                self.cut(self.first);
                self.first = entry.index;
                self.last = entry.index - 1;
                self.prior_term = None;
                self.push(entry.clone());
                return true;
            }
            Record::Entry(entry) if self.check_entry(entry.index, entry.term).is_err() => {
                return false;
            }
            _ => {}
        }
        let record = match record {
            Record::Configuration(bytes) => Record::Configuration(Bytes::copy_from_slice(&bytes)),
            Record::SnapshotPoint(point) => Record::SnapshotPoint(copied(&point)),
            other => other,
        };
        self.apply(record, resets);
        true
    }

    fn push(&mut self, entry: Entry) {
        self.cut(entry.index);
        if self.runs.back().is_none_or(|run| run.term != entry.term) {
            self.runs.push_back(Run {
                first: entry.index,
                term: entry.term,
            });
        }
        self.last = entry.index;
        self.cached_bytes += entry.data.len() + ENTRY_OVERHEAD;
        self.cached.push_back(entry);
    }

    /// Removes all entries from an index on.
    fn cut(&mut self, index: u64) {
        if index > self.last {
            return;
        }
        self.last = index - 1;
        while self.runs.back().is_some_and(|run| run.first >= index) {
            self.runs.pop_back();
        }
        while self.cached.back().is_some_and(|entry| entry.index >= index) {
            let gone = self.cached.pop_back();
            self.cached_bytes -= gone.map_or(0, |entry| entry.data.len() + ENTRY_OVERHEAD);
        }
    }

    /// Forgets the entries below an index (at most one above the last).
    pub(super) fn truncate_before(&mut self, index: u64) {
        let index = index.min(self.last + 1);
        if index <= self.first {
            return;
        }
        self.prior_term = self.term_of(index - 1);
        self.first = index;
        while self.runs.get(1).is_some_and(|run| run.first <= index) {
            self.runs.pop_front();
        }
        if index > self.last {
            self.runs.clear();
        }
        self.evict(0, index - 1);
    }

    /// Drops entries from memory, oldest first, none above `up_to`, until they take `bound` bytes.
    pub(super) fn evict(&mut self, bound: usize, up_to: u64) {
        while self.cached_bytes > bound
            && self
                .cached
                .front()
                .is_some_and(|entry| entry.index <= up_to)
        {
            let gone = self.cached.pop_front();
            self.cached_bytes -= gone.map_or(0, |entry| entry.data.len() + ENTRY_OVERHEAD);
        }
    }
}

/// A snapshot point that shares no memory with the group it was read from.
fn copied(point: &SnapshotPoint) -> SnapshotPoint {
    SnapshotPoint {
        data: Bytes::copy_from_slice(&point.data),
        ..point.clone()
    }
}

#[cfg(test)]
mod log_test {
    use super::*;

    fn entry(index: u64, term: u64) -> Record {
        Record::Entry(Entry {
            index,
            term,
            kind: 0,
            data: Bytes::from_static(b"x"),
        })
    }

    fn log(entries: &[(u64, u64)]) -> Log {
        let mut log = Log::from_head(&Head::default());
        for (index, term) in entries {
            log.check_entry(*index, *term).unwrap();
            log.apply(entry(*index, *term), false);
        }
        log
    }

    fn point(index: u64, term: u64) -> SnapshotPoint {
        SnapshotPoint {
            index,
            term,
            data: Bytes::new(),
        }
    }

    #[test]
    fn an_entry_supersedes_all_from_its_index_on() {
        let log = log(&[(1, 1), (2, 1), (3, 2), (4, 2), (3, 3)]);
        let terms: Vec<_> = (0..=4).map(|index| log.term_of(index)).collect();
        assert_eq!(terms, [Some(0), Some(1), Some(1), Some(3), None]);
        assert_eq!(
            (log.first_index(), log.last_index(), log.cached_from()),
            (1, 3, 1)
        );
    }

    #[test]
    fn gaps_and_falling_terms_are_refused() {
        let log = log(&[(1, 1), (2, 4)]);
        assert!(matches!(
            log.check_entry(4, 4),
            Err(AppendError::Disconnected { last: 2, .. })
        ));
        assert!(matches!(
            log.check_entry(0, 4),
            Err(AppendError::Disconnected { first: 1, .. })
        ));
        assert!(matches!(
            log.check_entry(3, 3),
            Err(AppendError::TermBackwards { .. })
        ));
        assert!(
            log.check_entry(2, 1).is_ok(),
            "only the predecessor's term binds"
        );
    }

    #[test]
    fn what_a_snapshot_includes_is_not_superseded() {
        let mut log = log(&[(1, 1), (2, 1), (3, 1)]);
        log.apply(Record::SnapshotPoint(point(2, 1)), false);
        assert!(matches!(
            log.check_entry(2, 2),
            Err(AppendError::Settled { snapshot: 2, .. })
        ));
        assert!(log.check_entry(3, 2).is_ok());
    }

    #[test]
    fn a_snapshot_point_in_the_log_keeps_its_entries() {
        let mut log = log(&[(1, 1), (2, 1), (3, 2)]);
        assert!(!log.is_reset_by(&point(2, 1)));
        log.apply(Record::SnapshotPoint(point(2, 1)), false);
        assert_eq!((log.first_index(), log.last_index()), (1, 3));
        log.truncate_before(3);
        assert_eq!(
            (log.first_index(), log.term_of(2), log.term_of(3)),
            (3, Some(1), Some(2))
        );
        assert!(!log.is_reset_by(&point(1, 1)), "below the log");
        assert!(log.is_reset_by(&point(3, 3)), "another term");
        assert!(log.is_reset_by(&point(4, 2)), "not there");
        log.apply(Record::SnapshotPoint(point(9, 2)), true);
        assert_eq!(
            (log.first_index(), log.last_index(), log.term_of(9)),
            (10, 9, Some(2))
        );
        assert_eq!((log.cached_from(), log.cached_bytes()), (10, 0));
    }

    #[test]
    fn memory_is_given_up_from_the_oldest_entry_and_never_beyond_what_is_durable() {
        let mut log = log(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        log.evict(0, 2);
        assert_eq!((log.cached_from(), log.first_index()), (3, 1));
        assert_eq!(log.cached(3, 9, 1).len(), 1);
        assert_eq!(log.cached(3, 9, 0).len(), 1, "one at least");
        assert_eq!(log.cached(3, 9, 2).len(), 2);
        log.apply(entry(2, 2), false);
        assert_eq!((log.cached_from(), log.last_index()), (2, 2));
    }

    #[test]
    fn truncation_keeps_the_terms_of_what_remains() {
        let mut log = log(&[(1, 1), (2, 2), (3, 2), (4, 5)]);
        assert_eq!(
            log.term_runs().collect::<Vec<_>>(),
            [(1, 1), (2, 2), (4, 5)]
        );
        log.truncate_before(3);
        assert_eq!(log.term_runs().collect::<Vec<_>>(), [(3, 2), (4, 5)]);
        let terms: Vec<_> = (1..=5).map(|index| log.term_of(index)).collect();
        assert_eq!(terms, [None, Some(2), Some(2), Some(5), None]);
        log.truncate_before(99);
        assert_eq!(
            (log.first_index(), log.last_index(), log.term_of(4)),
            (5, 4, Some(5))
        );
        log.apply(entry(5, 5), false);
        assert_eq!(log.term_of(5), Some(5));
    }
}
