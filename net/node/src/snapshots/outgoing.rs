//! The leader's side: a pinned root on its way to a member that lags.
//!
//! Parts are numbered. Some may be on their way at the same time, as many bytes as the window allows; those that are
//! not acknowledged stay in memory and are sent again when no receipt has come for some ticks. The first part travels
//! alone: only a member that has taken it can say of a later one that it knows nothing of it.

use super::SnapshotOptions;
use super::part::{Content, KIND_PART, Part, Receipt, SnapshotId, Standing};
use crate::NodeError;
use crate::node::{Node, Turn};
use crate::parcel::{Parcel, enclose};
use bytes::Bytes;
use reeve_engine::btree::{Pinned, Reader};
use reeve_engine::disk::Disk;
use reeve_engine::pages::Stop;
use reeve_engine::snapshot::SnapshotReader;
use reeve_raft::{LogPoint, MemberId, PeerPhase, PeerStatus, SnapshotPoint};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Members that receive a snapshot at the same time; others wait for their turn.
const AT_ONCE: usize = 2;
/// Parts that are read and sent in one turn.
const PARTS_PER_TURN: usize = 4;
/// Parts that are sent again at once.
const PARTS_AGAIN: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    tick: u64,
    /// Snapshots begun so far.
    begun: u64,
    /// Members that need a snapshot.
    waiting: BTreeSet<MemberId>,
    /// Members to which sending has failed.
    paused: BTreeMap<MemberId, Pause>,
    sendings: Vec<Sending>,
    /// Bytes that may still leave before the next tick.
    allowance: u64,
    /// Pages were asked for and have not arrived.
    waits_for_pages: bool,
    /// Parcels that leave with the next turn.
    parcels: Vec<Parcel>,
    /// Sendings that have failed, and why.
    failed: Vec<(MemberId, SnapshotId, Setback)>,
    /// Members that have installed a snapshot and still need the log behind it: how far they were when they last
    /// moved, and when that was.
    following: BTreeMap<MemberId, (u64, u64)>,
}

/// One snapshot on its way to one member.
#[derive(Debug)]
struct Sending {
    peer: MemberId,
    id: SnapshotId,
    term: u64,
    point: LogPoint,
    reader: Reader,
    pin: Pinned,
    stream: SnapshotReader,
    /// The stream is read to its end.
    is_read: bool,
    /// Read and not yet in any part.
    rest: Bytes,
    /// Place of the next part.
    next: u64,
    /// The last part was made.
    is_whole: bool,
    /// Parcels that were sent and not acknowledged, with their places.
    unacknowledged: VecDeque<(u64, Bytes)>,
    unacknowledged_bytes: usize,
    begun: u64,
    heard: u64,
    /// When a part was sent again or one was acknowledged last.
    moved: u64,
}

/// What follows from attempts that have failed.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    /// The tick from which on it is tried again.
    until: u64,
    /// How often in a row the receiver could not store it.
    refusals: u32,
}

/// Why a sending is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setback {
    NoSpace,
    NotStored,
    Forgotten,
    Silent,
    TooLong,
    Unpinned,
}

impl Setback {
    fn text(self) -> &'static str {
        match self {
            Setback::NoSpace => "its disk is full",
            Setback::NotStored => "it could not store it; its own log says why",
            Setback::Forgotten => "it has forgotten the beginning, as after a restart",
            Setback::Silent => "it does not answer",
            Setback::TooLong => {
                "it takes too long, and the pages that it needs cannot be reused meanwhile"
            }
            Setback::Unpinned => "its pin was ended",
        }
    }

    /// Whether the next attempt meets the same, most likely, and does harm until then: a disk that is filled to its end
    /// each time lacks room for all else.
    fn is_of_its_disk(self) -> bool {
        matches!(self, Setback::NoSpace | Setback::NotStored)
    }
}

/// How a turn of a sending ends.
enum Sent {
    /// Until a receipt, or the next tick.
    Enough,
    /// There is more to send.
    More,
    /// Pages are needed.
    Pages(Vec<reeve_engine::pages::PageFault>),
    /// The pin was ended.
    Unpinned,
}

impl Sending {
    fn part(&self, place: u64, content: Content) -> Part {
        let (id, term) = (self.id, self.term);
        Part {
            id,
            term,
            place,
            content,
        }
    }

    fn send(&mut self, content: Content, parcels: &mut Vec<Parcel>) -> u64 {
        let part = self.part(self.next, content);
        let bytes = enclose(KIND_PART, &part.encode());
        self.next += 1;
        self.unacknowledged.push_back((part.place, bytes.clone()));
        self.unacknowledged_bytes += bytes.len();
        let length = bytes.len() as u64;
        parcels.push(Parcel {
            to: self.peer,
            bulk: true,
            bytes,
        });
        length
    }

    /// Sends what the window and the allowance let go.
    fn go_on(
        &mut self,
        options: &SnapshotOptions,
        allowance: &mut u64,
        parcels: &mut Vec<Parcel>,
    ) -> Result<Sent, Stop> {
        let is_first_under_way = self
            .unacknowledged
            .front()
            .is_some_and(|(place, _)| *place == 0);
        for _ in 0..PARTS_PER_TURN {
            let is_full = self.unacknowledged_bytes >= options.window_bytes;
            if self.is_whole || is_first_under_way || is_full || *allowance == 0 {
                return Ok(Sent::Enough);
            }
            if self.rest.is_empty() && !self.is_read {
                let mut bytes = Vec::with_capacity(options.part_bytes);
                let Some(view) = self.reader.view_pinned(&self.pin) else {
                    return Ok(Sent::Unpinned);
                };
                match self.stream.step(&view, options.part_bytes, &mut bytes) {
                    Ok(is_read) => self.is_read = is_read,
                    Err(Stop::NeedPages(faults)) if bytes.is_empty() => {
                        return Ok(Sent::Pages(faults));
                    }
                    // What was read before goes first.
                    Err(Stop::NeedPages(_)) => {}
                    Err(stop) => return Err(stop),
                }
                self.rest = bytes.into();
            }
            let sent = if self.rest.is_empty() {
                self.is_whole = true;
                self.send(Content::Last(self.stream.summary()), parcels)
            } else {
                let bytes = self.rest.split_to(options.part_bytes.min(self.rest.len()));
                self.send(Content::Middle(bytes), parcels)
            };
            *allowance = allowance.saturating_sub(sent);
        }
        Ok(Sent::More)
    }

    fn send_again(&mut self, parcels: &mut Vec<Parcel>) {
        for (_, bytes) in self.unacknowledged.iter().take(PARTS_AGAIN) {
            parcels.push(Parcel {
                to: self.peer,
                bulk: true,
                bytes: bytes.clone(),
            });
        }
    }

    fn acknowledge(&mut self, taken: u64, tick: u64) {
        while let Some((place, bytes)) = self.unacknowledged.front() {
            if *place >= taken {
                break;
            }
            self.unacknowledged_bytes -= bytes.len();
            self.unacknowledged.pop_front();
            self.moved = tick;
        }
    }
}

impl Outgoing {
    pub(crate) fn tick(&mut self, options: &SnapshotOptions) {
        self.tick += 1;
        self.allowance = options.bytes_per_tick;
    }

    /// Has the next attempt wait after one that has failed.
    fn pause(&mut self, peer: MemberId, setback: Setback, options: &SnapshotOptions) {
        let longest = options.longest_pause_ticks;
        let pause = self.paused.entry(peer).or_default();
        if self.tick > pause.until + longest {
            // What was has nothing to do with it.
            pause.refusals = 0;
        }
        let mut ticks = options.pause_ticks;
        if setback.is_of_its_disk() {
            let doubled = ticks.saturating_mul(1 << pause.refusals.min(30));
            ticks = doubled.min(longest).max(ticks);
            pause.refusals += 1;
        }
        pause.until = self.tick + ticks;
    }

    /// The link to a member was lost. It may come back as another process, with room on its disk.
    pub(crate) fn link_lost(&mut self, peer: MemberId, options: &SnapshotOptions) {
        if let Some(pause) = self.paused.get_mut(&peer) {
            pause.refusals = 0;
            pause.until = pause.until.min(self.tick + options.pause_ticks);
        }
    }

    /// Whether sending to a member has to wait.
    fn is_paused(&self, peer: MemberId) -> bool {
        let pause = self.paused.get(&peer);
        pause.is_some_and(|pause| pause.until > self.tick)
    }

    /// The core says that this member needs a snapshot.
    pub(crate) fn need(&mut self, peer: MemberId) {
        self.waiting.insert(peer);
    }

    /// This member leads no more, or its store is another one.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.sendings.clear();
        self.following.clear();
        self.parcels.clear();
        self.failed.clear();
        self.waits_for_pages = false;
    }

    /// The pages that were asked for are there.
    pub(crate) fn pages_arrived(&mut self) {
        self.waits_for_pages = false;
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.sendings.is_empty() && self.following.is_empty()
    }

    /// The lowest index behind which members need the log that receive a snapshot or have lately done so.
    fn needed_log(&self) -> Option<u64> {
        let sent = self.sendings.iter().map(|sending| sending.point.index);
        let followed = self.following.values().map(|(matched, _)| *matched);
        sent.chain(followed).min()
    }

    fn sending(&mut self, peer: MemberId, id: SnapshotId) -> Option<usize> {
        let mut all = self.sendings.iter();
        all.position(|sending| sending.peer == peer && sending.id == id)
    }

    /// Looks after those that have installed their snapshot: they are no longer followed when they have caught up, or
    /// have not moved for long.
    fn follow(&mut self, status: &BTreeMap<MemberId, PeerStatus>, commit: u64, patience: u64) {
        let tick = self.tick;
        self.following.retain(|peer, (matched, since)| {
            let Some(status) = status.get(peer) else {
                return false;
            };
            if status.matched > *matched {
                (*matched, *since) = (status.matched, tick);
            }
            *matched < commit && tick - *since <= patience
        });
    }
}

impl<D: Disk> Node<D> {
    /// Goes on with the snapshots that this member sends.
    pub(crate) fn send_snapshots(&mut self, turn: &mut Turn) -> Result<(), NodeError> {
        if !self.raft.is_leader() {
            self.outgoing.clear();
            return Ok(());
        }
        if self.outgoing.is_idle() {
            return Ok(());
        }
        turn.parcels.append(&mut self.outgoing.parcels);
        self.end_sendings(turn);
        while self.begin_sending(turn) {}
        if self.outgoing.waits_for_pages {
            return Ok(());
        }
        let mut unpinned = Vec::new();
        let Outgoing {
            sendings,
            allowance,
            waits_for_pages,
            ..
        } = &mut self.outgoing;
        let options = &self.options.snapshots;
        for sending in sendings {
            match sending.go_on(options, allowance, &mut turn.parcels) {
                Ok(Sent::Enough) => {}
                Ok(Sent::More) => turn.work_left = true,
                Ok(Sent::Pages(faults)) => {
                    turn.snapshot_faults = faults;
                    *waits_for_pages = true;
                    break;
                }
                Ok(Sent::Unpinned) => unpinned.push((sending.peer, sending.id)),
                Err(stop) => return Err(NodeError::from_stop(stop)),
            }
        }
        for (peer, id) in unpinned {
            self.give_up(peer, id, Setback::Unpinned, turn);
        }
        Ok(())
    }

    /// Ends what has reached its goal, and what lasts too long.
    fn end_sendings(&mut self, turn: &mut Turn) {
        let status: BTreeMap<_, _> = self.raft.peers().map(|peer| (peer.member, peer)).collect();
        let (tick, term) = (self.outgoing.tick, self.raft.term());
        let mut sendings = std::mem::take(&mut self.outgoing.sendings);
        sendings.retain(|sending| {
            let phase = status.get(&sending.peer).map(|peer| peer.phase);
            let index = Some(sending.point.index);
            if sending.term == term && phase == Some(PeerPhase::Snapshot { index }) {
                return true;
            }
            let has_all = |peer: &&PeerStatus| peer.next > sending.point.index;
            if sending.term == term
                && let Some(peer) = status.get(&sending.peer).filter(has_all)
            {
                let index = sending.point.index;
                let matched = peer.matched.max(index);
                self.outgoing.paused.remove(&sending.peer);
                self.outgoing
                    .following
                    .insert(sending.peer, (matched, tick));
                turn.reports.push(format!(
                    "member {:x} has the snapshot of entry {index}",
                    sending.peer
                ));
            }
            false
        });
        self.outgoing.sendings = sendings;
        let options = self.options.snapshots;
        let commit = self.raft.commit_index();
        self.outgoing
            .follow(&status, commit, options.patience_ticks);
        self.outgoing
            .waiting
            .retain(|peer| status.contains_key(peer));
        let late: Vec<_> = self
            .outgoing
            .sendings
            .iter()
            .filter_map(|sending| {
                let setback = if tick - sending.heard > options.patience_ticks {
                    Setback::Silent
                } else if tick - sending.begun > options.age_ticks {
                    Setback::TooLong
                } else {
                    return None;
                };
                Some((sending.peer, sending.id, setback))
            })
            .collect();
        let failed = std::mem::take(&mut self.outgoing.failed);
        for (peer, id, setback) in failed.into_iter().chain(late) {
            self.give_up(peer, id, setback, turn);
        }
    }

    /// Begins to send to the next member that waits. Answers whether there was one.
    fn begin_sending(&mut self, turn: &mut Turn) -> bool {
        // Only then the published root is that of the applied index, and the members are as of it.
        let is_settled = !self.pipeline.is_dirty() && !self.pipeline.is_inside_entry();
        if self.outgoing.sendings.len() >= AT_ONCE || !is_settled {
            return false;
        }
        let mut waiting = self.outgoing.waiting.iter().copied();
        let next = waiting.find(|peer| !self.outgoing.is_paused(*peer));
        let Some(peer) = next else {
            return false;
        };
        self.outgoing.waiting.remove(&peer);
        let state = self.pipeline.applier().state();
        let point = LogPoint {
            index: state.applied_index,
            term: state.applied_term,
        };
        let snapshot = SnapshotPoint {
            point,
            configuration: self.raft.configuration().clone(),
        };
        // The message that this makes stays here (see `exchange`): the first part says the same.
        if !self.raft.send_snapshot(peer, snapshot.clone()) {
            return true;
        }
        let reader = self.store.reader();
        let (tick, term) = (self.outgoing.tick, self.raft.term());
        self.outgoing.begun += 1;
        let mut sending = Sending {
            peer,
            id: SnapshotId {
                incarnation: self.options.incarnation,
                number: self.outgoing.begun,
            },
            term,
            point,
            pin: reader.pin(),
            reader,
            stream: SnapshotReader::new(),
            is_read: false,
            rest: Bytes::new(),
            next: 0,
            is_whole: false,
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
            begun: tick,
            heard: tick,
            moved: tick,
        };
        sending.send(Content::First(snapshot), &mut turn.parcels);
        self.outgoing.sendings.push(sending);
        turn.reports.push(format!(
            "member {peer:x} is too far behind for the log: it gets a snapshot of entry {}",
            point.index
        ));
        true
    }

    /// Ends a sending that has failed.
    fn give_up(&mut self, peer: MemberId, id: SnapshotId, setback: Setback, turn: &mut Turn) {
        let Some(place) = self.outgoing.sending(peer, id) else {
            return;
        };
        let sending = self.outgoing.sendings.swap_remove(place);
        self.outgoing.pause(peer, setback, &self.options.snapshots);
        self.raft.snapshot_failed(peer);
        turn.reports.push(format!(
            "the snapshot of entry {} for member {peer:x} is given up: {}",
            sending.point.index,
            setback.text()
        ));
    }

    /// Sends again what was not acknowledged, and ends what keeps too many pages. Once a tick.
    pub(crate) fn tick_sendings(&mut self) {
        let options = self.options.snapshots;
        self.outgoing.tick(&options);
        let tick = self.outgoing.tick;
        if self.outgoing.sendings.is_empty() {
            return;
        }
        let pins = self.store.pins();
        let Outgoing {
            sendings, parcels, ..
        } = &mut self.outgoing;
        for sending in sendings {
            if tick - sending.moved >= options.resend_ticks {
                sending.moved = tick;
                sending.send_again(parcels);
            }
            let pin = pins.iter().find(|pin| pin.id == sending.pin.id());
            if pin.is_some_and(|pin| pin.held_bytes > options.pinned_bytes) {
                self.store.abort_pin(sending.pin.id());
            }
        }
    }

    /// Takes what a receiver says.
    pub(crate) fn take_receipt(&mut self, from: MemberId, receipt: Receipt) {
        let tick = self.outgoing.tick;
        let Some(place) = self.outgoing.sending(from, receipt.id) else {
            return;
        };
        let sending = &mut self.outgoing.sendings[place];
        sending.heard = tick;
        let setback = match receipt.standing {
            Standing::Receiving => return sending.acknowledge(receipt.taken, tick),
            // Either way it has everything up to there.
            Standing::Installed | Standing::Unwanted => return self.raft.snapshot_finished(from),
            Standing::NoSpace => Setback::NoSpace,
            Standing::Failed => Setback::NotStored,
            Standing::Unknown => Setback::Forgotten,
        };
        self.outgoing.failed.push((from, receipt.id, setback));
    }

    /// Up to where the log may end behind a checkpoint, if members that receive a snapshot need more of it than
    /// `floor` leaves.
    pub(crate) fn floor_for_snapshots(&self, floor: u64) -> u64 {
        let options = &self.options;
        let bound = options
            .checkpoints
            .keep_bytes
            .saturating_add(options.snapshots.log_bytes);
        match self.outgoing.needed_log() {
            Some(index) if self.wal.file_bytes() <= bound => floor.min(index),
            _ => floor,
        }
    }
}
