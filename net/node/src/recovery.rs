//! From what the disk holds to a running node.

use crate::apply::Pipeline;
use crate::checkpoints::Checkpoints;
use crate::housekeeping::Housekeeping;
use crate::membership;
use crate::node::Node;
use crate::snapshots::PageFiles;
use crate::{NodeError, NodeOptions};
use reeve_engine::btree::{OpenedStore, Store};
use reeve_engine::disk::{Disk, DiskError, FileHandle, Operation};
use reeve_engine::lease::{Lessor, LessorLoad, LessorOptions};
use reeve_engine::members::MemberTable;
use reeve_engine::mvcc::{Applier, Budget, State, Step};
use reeve_engine::pages::{Outcome, drive};
use reeve_engine::wal::{Recovered as RecoveredLog, Replay, Wal};
use reeve_raft::{
    Config, ConfigurationState, Entry, EntryKind, HardState, LogPoint, Raft, Recovered,
};
use std::collections::VecDeque;

/// What a start has found.
#[derive(Debug)]
pub struct Started<D> {
    /// The node; it has not taken a turn yet.
    pub node: Node<D>,
    /// Entries that are to be applied again.
    pub entries_to_apply: u64,
}

impl<D: Disk> Node<D> {
    /// Starts a node from its log and its store, opened at a checkpoint from which the log goes on. `bring_in` is called
    /// with pages that are needed; it may block. `page_files` is asked when a snapshot from another member arrives.
    ///
    /// # Errors
    /// [`NodeError`]; nothing has been changed.
    pub fn start(
        options: NodeOptions,
        mut disk: D,
        log: RecoveredLog,
        opened: OpenedStore,
        page_files: Box<dyn PageFiles>,
        bring_in: &mut dyn FnMut(reeve_engine::pages::Stop) -> Result<(), NodeError>,
    ) -> Result<Started<D>, NodeError> {
        let mut wal = log.wal;
        let OpenedStore {
            mut store, file, ..
        } = opened;
        let applier = insist(bring_in, || Applier::open(&store))?;
        let lessor = load_leases(&options, &store, bring_in)?;
        let state = applier.state();
        let configuration = insist(bring_in, || membership::load(&store))?;
        let configuration = match configuration {
            Some(bytes) => ConfigurationState::from_bytes(&bytes)?,
            None => first_configuration(&wal)?,
        };
        let members = insist(bring_in, || MemberTable::load(&store))?;
        let kept_bytes = options.recovered_bytes;
        let mut recovered = recover_log(&mut wal, &mut disk, &state, configuration, kept_bytes)?;
        if log.created {
            // They are durable before anything else of this log: it is written in order.
            recovered.entries = membership::found(&options, &mut wal)?;
            recovered.hard_state.commit = recovered.entries.len() as u64;
        } else if options.force_new_cluster {
            let own = options.member_id;
            membership::stand_alone(own, &members, &mut recovered, &mut wal, &mut disk)?;
        }
        let entries_to_apply = wal.last_index() - state.applied_index;
        let raft = Raft::new(consensus_config(&options), recovered)?;
        let pipeline = Pipeline::new(applier, members, &options)?;
        let housekeeping = Housekeeping::new(&store, bring_in)?;
        make_room(&mut store, file, &mut disk)?;
        // Requests that grow the store are refused before they get here; what is committed has to be applied.
        store.use_reserve(true);
        let node = Node::assemble(
            options,
            disk,
            raft,
            wal,
            store,
            pipeline,
            lessor,
            housekeeping,
            Checkpoints::new(file),
            page_files,
        );
        Ok(Started {
            node,
            entries_to_apply,
        })
    }
}

/// Has the room allocated with which the store begins. A full disk is not an error: reads do without.
fn make_room(store: &mut Store, file: FileHandle, disk: &mut impl Disk) -> Result<(), NodeError> {
    let Some(request) = store.space_wanted() else {
        return Ok(());
    };
    let (offset, length) = (request.offset, request.length);
    let operation = Operation::Allocate {
        file,
        offset,
        length,
    };
    match drive::perform(disk, operation) {
        Ok(_) => store.space_granted(request),
        Err(DiskError::NoSpace { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Repeats an operation until it needs no more pages.
pub(crate) fn insist<T>(
    bring_in: &mut dyn FnMut(reeve_engine::pages::Stop) -> Result<(), NodeError>,
    mut operation: impl FnMut() -> Outcome<T>,
) -> Result<T, NodeError> {
    loop {
        match operation() {
            Ok(value) => return Ok(value),
            Err(stop) => bring_in(stop)?,
        }
    }
}

fn load_leases(
    options: &NodeOptions,
    store: &Store,
    bring_in: &mut dyn FnMut(reeve_engine::pages::Stop) -> Result<(), NodeError>,
) -> Result<Lessor, NodeError> {
    let mut lessor = Lessor::new(LessorOptions {
        minimum_ttl: options.minimum_lease_ttl,
        retry_ms: options.lease_retry_ms,
    });
    let mut load = LessorLoad::default();
    loop {
        // Time begins at 0 for a lessor that is not primary: it sets deadlines only when it becomes that.
        let step = insist(bring_in, || {
            load.step(store, &mut lessor, 0, &mut Budget::unlimited())
        })?;
        if matches!(step, Step::Done(_)) {
            return Ok(lessor);
        }
    }
}

fn consensus_config(options: &NodeOptions) -> Config {
    let mut config = Config {
        election_ticks: options.election_ticks,
        heartbeat_ticks: 1,
        pre_vote: options.pre_vote,
        max_append_bytes: options.append_bytes,
        memory_bytes: options.log_cache_bytes as u64,
        apply_bytes: options.apply_bytes.max(1),
        seed: options.seed,
        incarnation: options.incarnation,
        ..Config::new(options.member_id)
    };
    options.planted.plant(&mut config);
    config
}

/// The members before the first entry: none, unless an early release has founded the cluster, which noted them beside
/// the entries.
fn first_configuration(wal: &Wal) -> Result<ConfigurationState, NodeError> {
    Ok(match wal.configuration() {
        bytes if bytes.is_empty() => ConfigurationState::default(),
        bytes => ConfigurationState::from_bytes(&bytes)?,
    })
}

/// Where the log begins, for this member and for those that it may have to supply.
fn log_start(wal: &Wal, state: &State) -> LogPoint {
    let applied = LogPoint {
        index: state.applied_index,
        term: state.applied_term,
    };
    let first = wal.first_index();
    let before = first - 1;
    let point = |index| wal.term_of(index).map(|term| LogPoint { index, term });
    if before >= applied.index {
        return applied;
    }
    // Segments that are gone may have taken the term before the first entry with them.
    point(before).or_else(|| point(first)).unwrap_or(applied)
}

fn recover_log(
    wal: &mut Wal,
    disk: &mut dyn Disk,
    state: &State,
    configuration: ConfigurationState,
    kept_bytes: u64,
) -> Result<Recovered, NodeError> {
    let (first, last) = (wal.first_index(), wal.last_index());
    let needed = state.applied_index + 1;
    if last < state.applied_index || (last >= needed && first > needed) {
        return Err(NodeError::Gap {
            first,
            last,
            needed,
        });
    }
    let start = log_start(wal, state);
    // The core wants one entry at least if it is to know terms.
    let end = read_end(wal, disk, start.index, needed.min(last), kept_bytes)?;
    let hard_state = wal.hard_state();
    Ok(Recovered {
        hard_state: HardState {
            // A cluster begins in term 1, in which etcd's members agree on their first configuration.
            term: hard_state.term.max(1),
            vote: (hard_state.vote != 0).then_some(hard_state.vote),
            commit: hard_state
                .commit
                .max(state.applied_index)
                .max(end.proven_commit),
        },
        configuration,
        start,
        terms: end.terms,
        entries: end.entries,
        applied: state.applied_index,
    })
}

/// The end of the log.
#[derive(Debug, Default)]
struct LogEnd {
    /// Where terms begin, in what lies before `entries`.
    terms: Vec<LogPoint>,
    entries: Vec<Entry>,
    /// Up to here the log is committed, to judge by the changes of the members in it: one is proposed only when the one
    /// before is applied. The core sees this for itself, but not in what it is not given.
    proven_commit: u64,
}

fn read_end(
    wal: &mut Wal,
    disk: &mut dyn Disk,
    start: u64,
    from: u64,
    kept_bytes: u64,
) -> Result<LogEnd, NodeError> {
    let from = from.max(start + 1);
    let mut terms: Vec<LogPoint> = wal
        .term_runs()
        .filter(|_| from <= wal.last_index())
        .map(|(index, term)| LogPoint { index, term })
        .collect();
    begin_after(&mut terms, start);
    terms.retain(|run| run.index < from);
    let mut entries = VecDeque::new();
    let (mut bytes, mut proven_commit, mut last_change) = (0, 0, 0);
    let mut replay = Replay::new(from);
    loop {
        let batch = replay.next_batch(wal, disk)?;
        if batch.is_empty() {
            return Ok(LogEnd {
                terms,
                entries: entries.into(),
                proven_commit,
            });
        }
        for entry in batch {
            let entry = consensus_entry(entry)?;
            if entry.kind == EntryKind::Configuration {
                proven_commit = std::mem::replace(&mut last_change, entry.index);
            }
            bytes += entry.size();
            entries.push_back(entry);
        }
        while bytes > kept_bytes && entries.len() > 1 {
            if let Some(dropped) = entries.pop_front() {
                bytes -= dropped.size();
                if terms.last().is_none_or(|run| run.term != dropped.term) {
                    terms.push(dropped.point());
                }
            }
        }
    }
}

/// Leaves out what lies at or before `start`.
fn begin_after(terms: &mut Vec<LogPoint>, start: u64) {
    let before = terms.partition_point(|run| run.index <= start + 1);
    let Some(last) = before.checked_sub(1) else {
        return;
    };
    terms[last].index = start + 1;
    terms.drain(..last);
}

/// An entry of the log as the core wants it.
pub(crate) fn consensus_entry(entry: reeve_engine::wal::Entry) -> Result<Entry, NodeError> {
    let Some(kind) = EntryKind::from_byte(entry.kind) else {
        return Err(NodeError::UnknownEntry {
            index: entry.index,
            kind: entry.kind,
        });
    };
    Ok(Entry {
        term: entry.term,
        index: entry.index,
        kind,
        data: entry.data,
    })
}
