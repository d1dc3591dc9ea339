//! A log on a simulated disk beside a plain model of what it should hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use reeve_engine::disk::{Completion, Disk, SimulatedDisk, SimulatedMedium};
use reeve_engine::wal::{
    Entry, Event, HardState, Identity, Position, Record, Recovered, Replay, SnapshotPoint, Wal,
    WalError, WalOptions,
};

pub const IDENTITY: Identity = Identity {
    cluster_id: 0xc1,
    member_id: 0x3e,
};
pub const SMALL_SEGMENT: u64 = 16 << 10;

pub fn directory() -> PathBuf {
    PathBuf::from("/data/wal")
}

pub fn options(segment_bytes: u64) -> WalOptions {
    WalOptions {
        segment_bytes,
        ..WalOptions::new(IDENTITY)
    }
}

/// An empty disk with the directory that the log's directory is made in.
pub fn medium() -> SimulatedMedium {
    let medium = SimulatedMedium::new();
    medium.make_directory(Path::new("/data"));
    medium
}

pub fn open(
    medium: &SimulatedMedium,
    options: WalOptions,
) -> (SimulatedDisk, Result<Recovered, WalError>) {
    let mut disk = medium.attach();
    let result = Wal::open(&mut disk, &directory(), options);
    (disk, result)
}

pub fn entry(index: u64, term: u64, data: &[u8]) -> Record {
    let kind = (index % 7) as u8;
    Record::Entry(Entry {
        index,
        term,
        kind,
        data: Bytes::copy_from_slice(data),
    })
}

pub fn vote(term: u64, vote: u64, commit: u64) -> Record {
    Record::HardState(HardState { term, vote, commit })
}

pub fn point(index: u64, term: u64) -> Record {
    let data = Bytes::from(format!("point {index}"));
    Record::SnapshotPoint(SnapshotPoint { index, term, data })
}

/// What a log holds, said as simply as possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub first: u64,
    pub last: u64,
    /// The term of the entry before the first, where it is known.
    pub prior_term: Option<u64>,
    pub entries: BTreeMap<u64, Entry>,
    pub hard_state: HardState,
    pub configuration: Bytes,
    pub snapshot: SnapshotPoint,
}

impl State {
    pub fn new() -> Self {
        Self {
            first: 1,
            last: 0,
            prior_term: Some(0),
            entries: BTreeMap::new(),
            hard_state: HardState::default(),
            configuration: Bytes::new(),
            snapshot: SnapshotPoint::default(),
        }
    }

    pub fn term_of(&self, index: u64) -> Option<u64> {
        if index + 1 == self.first {
            return self.prior_term;
        }
        self.entries.get(&index).map(|entry| entry.term)
    }

    /// The lowest entry that may still be superseded.
    pub fn replaceable_from(&self) -> u64 {
        self.first.max(self.snapshot.index + 1)
    }

    pub fn last_term(&self) -> u64 {
        self.term_of(self.last).unwrap_or(0)
    }

    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Entry(entry) => {
                self.entries.split_off(&entry.index);
                self.entries.insert(entry.index, entry.clone());
                self.last = entry.index;
            }
            Record::HardState(state) => self.hard_state = *state,
            Record::Configuration(bytes) => self.configuration = bytes.clone(),
            Record::SnapshotPoint(point) => {
                let below = point.index + 1 < self.first;
                if !below && self.term_of(point.index) != Some(point.term) {
                    self.entries.clear();
                    self.first = point.index + 1;
                    self.last = point.index;
                    self.prior_term = Some(point.term);
                }
                self.snapshot = point.clone();
            }
        }
    }

    pub fn truncate_before(&mut self, index: u64) {
        let index = index.min(self.last + 1);
        if index > self.first {
            self.prior_term = self.term_of(index - 1);
            self.entries = self.entries.split_off(&index);
            self.first = index;
        }
    }
}

/// The state that the log has been opened with, or the difference to `expected`.
pub fn compare(wal: &mut Wal, disk: &mut dyn Disk, expected: &State) -> Result<(), String> {
    macro_rules! ensure {
        ($found:expr, $operator:tt, $wanted:expr) => {
            let (found, wanted) = (&$found, &$wanted);
            if !(found $operator wanted) {
                return Err(format!("{}: {found:?} instead of {wanted:?}", stringify!($found)));
            }
        };
    }
    ensure!(wal.first_index(), <=, expected.first);
    ensure!(wal.last_index(), ==, expected.last);
    ensure!(wal.hard_state(), ==, expected.hard_state);
    ensure!(wal.configuration(), ==, expected.configuration);
    ensure!(wal.snapshot_point(), ==, expected.snapshot);
    if let Some(term) = wal.term_of(expected.first - 1) {
        ensure!(Some(term), ==, expected.prior_term.or(Some(term)));
    }
    let mut replay = Replay::new(expected.first);
    let mut next = expected.first;
    loop {
        let batch = replay
            .next_batch(wal, disk)
            .map_err(|error| error.to_string())?;
        if batch.is_empty() {
            break;
        }
        for entry in batch {
            ensure!(Some(&entry), ==, expected.entries.get(&next));
            ensure!(wal.term_of(next), ==, Some(entry.term));
            next += 1;
        }
    }
    ensure!(next, ==, expected.last + 1);
    Ok(())
}

/// A log under test, the model beside it, and the model's states by position.
pub struct Rig {
    pub medium: SimulatedMedium,
    pub disk: SimulatedDisk,
    pub wal: Wal,
    pub state: State,
    /// What the log holds once the group of that number is durable.
    pub history: BTreeMap<u64, State>,
    pub events: Vec<Event>,
    /// Every entry ever appended, by index and term.
    pub appended: BTreeMap<(u64, u64), Entry>,
}

impl Rig {
    pub fn new(segment_bytes: u64) -> Self {
        Self::on(medium(), options(segment_bytes))
    }

    /// A new log.
    pub fn on(medium: SimulatedMedium, options: WalOptions) -> Self {
        let (disk, recovered) = open(&medium, options);
        let wal = recovered.unwrap().wal;
        let state = State::new();
        let history = BTreeMap::from([(0, state.clone())]);
        Self {
            medium,
            disk,
            wal,
            state,
            history,
            events: Vec::new(),
            appended: BTreeMap::new(),
        }
    }

    pub fn append(&mut self, record: Record) -> Position {
        let position = self.wal.append(record.clone()).unwrap();
        if let Record::Entry(entry) = &record {
            self.appended
                .insert((entry.index, entry.term), entry.clone());
        }
        self.state.apply(&record);
        self.history.insert(position.0, self.state.clone());
        position
    }

    /// Appends entries behind the last one, in its term.
    pub fn extend(&mut self, count: u64, bytes: usize) {
        for _ in 0..count {
            let (index, term) = (self.state.last + 1, self.state.last_term().max(1));
            self.append(entry(index, term, &vec![index as u8; bytes]));
        }
    }

    pub fn truncate_before(&mut self, index: u64) {
        self.wal.truncate_before(index);
        self.state
            .truncate_before(index.min(self.wal.durable_index() + 1));
        assert_eq!(self.wal.first_index(), self.state.first);
        // It takes effect on disk when all that has been appended so far is durable.
        if let Some(mut latest) = self.history.last_entry() {
            latest.insert(self.state.clone());
        }
    }

    /// Pumps, and takes what has completed by now.
    pub fn turn(&mut self) -> Result<(), WalError> {
        self.wal.pump(&mut self.disk)?;
        let mut completions = Vec::new();
        self.disk.reap(&mut completions);
        self.take(completions)
    }

    fn take(&mut self, completions: Vec<Completion>) -> Result<(), WalError> {
        for completion in completions {
            assert!(self.wal.owns(completion.token));
            let event = self.wal.on_completion(&mut self.disk, completion)?;
            self.events.extend(event);
            self.wal.pump(&mut self.disk)?;
        }
        Ok(())
    }

    /// Goes on until nothing is under way.
    pub fn settle(&mut self) -> Result<(), WalError> {
        self.wal.pump(&mut self.disk)?;
        while self.disk.outstanding() > 0 {
            let mut completions = Vec::new();
            self.disk.wait(&mut completions);
            self.take(completions)?;
        }
        Ok(())
    }

    /// Appends nothing more, waits for all, and ends the log cleanly.
    pub fn stop(mut self) -> (SimulatedMedium, State) {
        self.wal.seal();
        self.settle().unwrap();
        assert!(self.wal.is_sealed());
        self.wal.close(&mut self.disk);
        (self.medium, self.state)
    }

    /// Kills the process and opens the log anew; it must hold what the model says.
    pub fn restarted(self, options: WalOptions) -> Self {
        let Self {
            medium,
            disk,
            wal,
            state,
            history,
            appended,
            ..
        } = self;
        drop((disk, wal));
        let (mut disk, recovered) = open(&medium, options);
        let mut wal = recovered.unwrap().wal;
        compare(&mut wal, &mut disk, &state).unwrap();
        Self::found(medium, disk, wal, state, &history, appended)
    }

    /// A log that was found to hold `state`. Truncation is not remembered by the log: entries that
    /// were in it once may be back in front.
    pub fn found(
        medium: SimulatedMedium,
        disk: SimulatedDisk,
        wal: Wal,
        mut state: State,
        history: &BTreeMap<u64, State>,
        appended: BTreeMap<(u64, u64), Entry>,
    ) -> Self {
        let back = wal.first_index()..state.first;
        for ((index, term), entry) in &appended {
            if back.contains(index) && wal.term_of(*index) == Some(*term) {
                state.entries.insert(*index, entry.clone());
            }
        }
        state.first = wal.first_index();
        state.prior_term = wal.term_of(state.first - 1);
        let history = history
            .range(..wal.durable_position().0)
            .map(|(group, state)| (*group, state.clone()))
            .chain([(wal.durable_position().0, state.clone())])
            .collect();
        Self {
            medium,
            disk,
            wal,
            state,
            history,
            events: Vec::new(),
            appended,
        }
    }

    /// What the log holds when the group of a number is its last.
    pub fn state_at(&self, group: u64) -> &State {
        self.history.range(..=group).next_back().unwrap().1
    }

    /// The entries of a range, from memory or from disk.
    pub fn read(&mut self, from: u64, to: u64, max_bytes: usize) -> Vec<Entry> {
        use reeve_engine::wal::Lookup;
        match self.wal.entries(from, to, max_bytes) {
            Lookup::Ready(entries) => return entries,
            Lookup::Truncated => panic!("truncated"),
            Lookup::OnDisk => {}
        }
        let ticket = self.wal.read(&mut self.disk, from, to, max_bytes).unwrap();
        loop {
            let mut completions = Vec::new();
            self.disk.wait(&mut completions);
            self.take(completions).unwrap();
            let ended = self.events.iter().find_map(|event| match event {
                Event::Read {
                    ticket: ended,
                    entries,
                } if *ended == ticket => Some(entries.clone()),
                _ => None,
            });
            if let Some(entries) = ended {
                self.events.clear();
                return entries.unwrap();
            }
        }
    }
}

/// Repeatable chance (xorshift64*, Vigna 2016).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % limit
    }
}
