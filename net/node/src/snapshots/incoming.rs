//! The other side: a snapshot that arrives, and becomes a page file beside the one in use.
//!
//! Parts that overtake others wait until those before them are there; a part that is repeated is acknowledged again.
//! Nothing that arrives changes what this member serves before the snapshot is installed.

use super::install::Installation;
use super::part::{Content, KIND_RECEIPT, Part, Receipt, SnapshotId, Standing};
use super::{TOKEN_BUILDER, page_files};
use crate::NodeError;
use crate::node::{Node, Turn};
use crate::parcel::{Parcel, enclose};
use reeve_engine::disk::{Completion, Disk, DiskError};
use reeve_engine::lease::{Lessor, LessorLoad, LessorOptions};
use reeve_engine::mvcc::{Budget, Step};
use reeve_engine::pages::Stop;
use reeve_engine::snapshot::{BuildError, BuilderOptions, Building, SnapshotBuilder};
use reeve_raft::{Body, MemberId, Message, SnapshotPoint, StepError};
use std::collections::BTreeMap;

/// Leases that are read in one turn.
const LEASES_PER_TURN: u32 = 1024;

/// What a part that waits counts for besides its bytes.
const PART_OVERHEAD: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    tick: u64,
    pub(super) receiving: Option<Receiving>,
    /// The last snapshot that has come to an end here, whose it was, and how it stands.
    last: Option<(MemberId, SnapshotId, Standing)>,
    /// Receipts that leave with the next turn.
    parcels: Vec<Parcel>,
}

/// A snapshot on its way in.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) from: MemberId,
    pub(super) id: SnapshotId,
    term: u64,
    pub(super) point: SnapshotPoint,
    pub(super) builder: SnapshotBuilder,
    pub(super) stage: Stage,
    /// Parts that came before it was their turn, and what they count for in memory.
    early: BTreeMap<u64, Content>,
    early_bytes: usize,
    /// Place of the next part.
    next: u64,
    /// A part was taken, or has come again: the sender is to be told.
    owes_receipt: bool,
    heard: u64,
}

/// How far a snapshot has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Parts are put into the trees.
    Building,
    /// The file is durable; its leases are read.
    Leases(Box<(Lessor, LessorLoad)>),
    /// The core is asked to take it.
    Offered(Box<Lessor>),
    /// It is being installed.
    Installing(Box<Lessor>, Installation),
    /// Nothing comes of it, and its file goes.
    Leaving,
}

/// What a part counts for while it waits, whatever it holds.
fn weight(content: &Content) -> usize {
    PART_OVERHEAD
        + match content {
            Content::Middle(bytes) => bytes.len(),
            Content::First(_) | Content::Last(_) => 0,
        }
}

impl Receiving {
    fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving)
    }

    fn leave(&mut self) {
        self.builder.abandon();
        self.stage = Stage::Leaving;
        self.early.clear();
    }

    /// Puts a part that has arrived where it belongs. More than `window` bytes do not wait; the sender sends again.
    fn take(&mut self, place: u64, content: Content, window: usize) {
        self.owes_receipt = true;
        let bytes = weight(&content);
        let fits = self.early_bytes + bytes <= window || place == self.next;
        if place < self.next || !fits || self.early.contains_key(&place) {
            return;
        }
        self.early_bytes += bytes;
        self.early.insert(place, content);
    }

    /// Feeds the builder with what is next.
    fn feed(&mut self) {
        while self.builder.is_hungry() {
            let Some(content) = self.early.remove(&self.next) else {
                return;
            };
            self.next += 1;
            self.owes_receipt = true;
            self.early_bytes -= weight(&content);
            match content {
                Content::First(_) => {}
                Content::Middle(bytes) => self.builder.feed(&bytes),
                Content::Last(summary) => {
                    let point = self.point.point;
                    self.builder.finish(summary, (point.index, point.term));
                }
            }
        }
    }
}

impl Incoming {
    pub(crate) fn tick(&mut self) {
        self.tick += 1;
        if let Some(receiving) = &mut self.receiving {
            // So that the sender knows that this member is there, however slow its disk is.
            receiving.owes_receipt |= !receiving.is_leaving();
        }
    }

    /// The disk has finished something for the file being built.
    pub(crate) fn built(&mut self, completion: Completion) {
        let Some(receiving) = &mut self.receiving else {
            unreachable!("a builder is kept until all it has submitted has ended")
        };
        receiving.builder.on_completion(completion);
    }

    /// Whether the core has taken a snapshot that is not in use yet: nothing may be applied, nor written to the page file.
    pub(crate) fn is_installing(&self) -> bool {
        let stage = self.receiving.as_ref().map(|receiving| &receiving.stage);
        matches!(stage, Some(Stage::Installing(..)))
    }

    fn tell(&mut self, to: MemberId, receipt: Receipt) {
        self.parcels.push(Parcel {
            to,
            bulk: false,
            bytes: enclose(KIND_RECEIPT, &receipt.encode()),
        });
    }

    /// A snapshot has come to its end here.
    pub(super) fn end(&mut self, from: MemberId, id: SnapshotId, standing: Standing) {
        self.last = Some((from, id, standing));
        let taken = 0;
        let receipt = Receipt {
            id,
            taken,
            standing,
        };
        self.tell(from, receipt);
    }

    /// Receipts for what was taken since the last time.
    fn collect(&mut self, parcels: &mut Vec<Parcel>) {
        if let Some(receiving) = &mut self.receiving
            && std::mem::take(&mut receiving.owes_receipt)
            && !receiving.is_leaving()
        {
            let receipt = Receipt {
                id: receiving.id,
                taken: receiving.next,
                standing: Standing::Receiving,
            };
            let to = receiving.from;
            self.tell(to, receipt);
        }
        parcels.append(&mut self.parcels);
    }
}

impl<D: Disk> Node<D> {
    /// Takes a part of a snapshot.
    pub(crate) fn take_part(&mut self, from: MemberId, part: Part) {
        let Part {
            id,
            term,
            place,
            content,
        } = part;
        if let Some(receiving) = &mut self.incoming.receiving
            && (receiving.from, receiving.id) == (from, id)
            && !receiving.is_leaving()
        {
            receiving.heard = self.incoming.tick;
            let window = self.options.snapshots.window_bytes;
            return receiving.take(place, content, window.saturating_mul(2));
        }
        if let Some((whose, last, standing)) = self.incoming.last
            && (whose, last) == (from, id)
        {
            return self.incoming.end(from, id, standing);
        }
        match content {
            Content::First(point) => self.begin_receiving(from, id, term, point),
            // Whoever sends this has had a receipt for the first part.
            Content::Middle(_) | Content::Last(_) => {
                let (taken, standing) = (0, Standing::Unknown);
                let receipt = Receipt {
                    id,
                    taken,
                    standing,
                };
                self.incoming.tell(from, receipt);
            }
        }
    }

    /// A part has come that cannot be read, of a later release perhaps: its sender is told that nothing comes of the snapshot.
    pub(crate) fn part_is_unreadable(&mut self, from: MemberId, body: &[u8]) {
        let Some(id) = SnapshotId::of_body(body) else {
            return;
        };
        if let Some(receiving) = &mut self.incoming.receiving
            && (receiving.from, receiving.id) == (from, id)
        {
            if !matches!(receiving.stage, Stage::Building) {
                return;
            }
            receiving.leave();
        }
        self.incoming.end(from, id, Standing::Failed);
    }

    /// Begins to receive a snapshot, if it is the leader's and of use.
    fn begin_receiving(&mut self, from: MemberId, id: SnapshotId, term: u64, point: SnapshotPoint) {
        let is_leader = self.raft.leader() == Some(from) && self.raft.term() == term;
        if !is_leader {
            // Until its heartbeat has come it is not known to be; it sends the part again.
            return;
        }
        if let Some(other) = &mut self.incoming.receiving {
            // What this leader has to give now is what counts. The part comes again when the other one is gone.
            if !matches!(other.stage, Stage::Installing(..) | Stage::Offered(_)) {
                other.leave();
            }
            return;
        }
        if !self.raft.wants_snapshot(&point) {
            // The core does not install it either, but tells the leader how far this member is.
            let _ = self.offer(from, term, point);
            return self.incoming.end(from, id, Standing::Unwanted);
        }
        let checkpoints = &self.options.checkpoints;
        let options = BuilderOptions {
            store: self.page_files.sizes(),
            identity: self.store.newest_checkpoint().identity,
            dirty_bytes: checkpoints.dirty_bytes,
            slice_bytes: checkpoints.slice_bytes,
            sync_bytes: checkpoints.sync_bytes,
            input_bytes: self.options.snapshots.part_bytes,
        };
        let path = page_files::path_of(self.page_files.path(), point.point);
        self.incoming.receiving = Some(Receiving {
            from,
            id,
            term,
            builder: SnapshotBuilder::new(path, TOKEN_BUILDER, options),
            point,
            stage: Stage::Building,
            early: BTreeMap::new(),
            early_bytes: 0,
            next: 1,
            owes_receipt: true,
            heard: self.incoming.tick,
        });
    }

    /// Goes on with the snapshot that arrives.
    pub(crate) fn receive_snapshot(
        &mut self,
        now_ms: u64,
        turn: &mut Turn,
    ) -> Result<(), NodeError> {
        self.leave_if_overtaken();
        let stage = self.incoming.receiving.as_ref().map(|it| &it.stage);
        match stage {
            None => {}
            Some(Stage::Building | Stage::Leaving) => self.continue_building(turn),
            Some(Stage::Leases(_)) => self.load_snapshot_leases(turn)?,
            Some(Stage::Offered(_)) => {}
            Some(Stage::Installing(..)) => self.continue_installing(now_ms, turn)?,
        }
        self.incoming.collect(&mut turn.parcels);
        Ok(())
    }

    /// A snapshot is of no use any more when another leads than its sender, or when that is silent.
    fn leave_if_overtaken(&mut self) {
        let Some(receiving) = &mut self.incoming.receiving else {
            return;
        };
        if !matches!(receiving.stage, Stage::Building | Stage::Leases(_)) {
            return;
        }
        let silent = self.incoming.tick - receiving.heard;
        let is_building = matches!(receiving.stage, Stage::Building);
        if receiving.term != self.raft.term()
            || is_building && silent > self.options.snapshots.patience_ticks
        {
            receiving.leave();
        }
    }

    fn continue_building(&mut self, turn: &mut Turn) {
        let Some(receiving) = &mut self.incoming.receiving else {
            return;
        };
        if !receiving.is_leaving() {
            receiving.feed();
        }
        let files = &self.page_files;
        let stepped = receiving
            .builder
            .step(&mut self.disk, &mut |path| files.source(path));
        match stepped {
            Ok(Building::Waiting) => {}
            Ok(Building::Hungry) => {
                // What has arrived meanwhile may be fed now.
                turn.work_left |= receiving.early.contains_key(&receiving.next);
            }
            Ok(Building::Busy) => turn.work_left = true,
            Ok(Building::Durable) => {
                let lessor = Lessor::new(LessorOptions {
                    minimum_ttl: self.options.minimum_lease_ttl,
                    retry_ms: self.options.lease_retry_ms,
                });
                receiving.stage = Stage::Leases(Box::new((lessor, LessorLoad::default())));
                turn.work_left = true;
            }
            Ok(Building::Gone) => {
                self.incoming.receiving = None;
                turn.work_left = true;
            }
            Err(error) => self.receiving_failed(&error, turn),
        }
    }

    fn receiving_failed(&mut self, error: &BuildError, turn: &mut Turn) {
        let Some(receiving) = &mut self.incoming.receiving else {
            return;
        };
        receiving.leave();
        turn.work_left = true;
        let (from, id) = (receiving.from, receiving.id);
        let standing = match error {
            BuildError::Disk(DiskError::NoSpace { .. }) => Standing::NoSpace,
            _ => Standing::Failed,
        };
        turn.notices.push(format!(
            "a snapshot from member {from:x} cannot be stored: {error}. The member goes on with what it has; the snapshot is \
             sent again after a while"
        ));
        self.incoming.end(from, id, standing);
    }

    /// Reads the leases of the new store, so that installing it takes no time.
    fn load_snapshot_leases(&mut self, turn: &mut Turn) -> Result<(), NodeError> {
        let Some(Receiving {
            stage,
            builder,
            from,
            term,
            point,
            ..
        }) = &mut self.incoming.receiving
        else {
            return Ok(());
        };
        let (Stage::Leases(leases), Some(store)) = (&mut *stage, builder.store()) else {
            unreachable!("the caller has seen the stage, and a file that is durable has a store")
        };
        let (lessor, load) = &mut **leases;
        turn.work_left = true;
        // Time begins at 0 for a lessor that is not primary.
        match load.step(store, lessor, 0, &mut Budget::new(LEASES_PER_TURN)) {
            Ok(Step::Done(())) => {}
            Ok(_) => return Ok(()),
            // Written moments ago.
            Err(Stop::NeedPages(faults)) => {
                return store.space().bring_in(&faults).map_err(NodeError::Damage);
            }
            Err(stop) => return Err(NodeError::from_stop(stop)),
        }
        let lessor = std::mem::replace(
            lessor,
            Lessor::new(LessorOptions {
                minimum_ttl: 0,
                retry_ms: 0,
            }),
        );
        let (from, term, point) = (*from, *term, point.clone());
        *stage = Stage::Offered(Box::new(lessor));
        // Whether it is taken shows in what the core wants next.
        if self.offer(from, term, point).is_err() {
            self.snapshot_refused();
        }
        Ok(())
    }

    fn offer(&mut self, from: MemberId, term: u64, point: SnapshotPoint) -> Result<(), StepError> {
        let to = self.options.member_id;
        let body = Body::Snapshot { point };
        self.raft.step(Message {
            from,
            to,
            term,
            body,
        })
    }

    /// The core has not taken the snapshot that it was offered: it knows of more by now.
    pub(crate) fn snapshot_refused(&mut self) {
        if let Some(receiving) = &mut self.incoming.receiving
            && matches!(receiving.stage, Stage::Offered(_))
        {
            receiving.leave();
            let (from, id) = (receiving.from, receiving.id);
            self.incoming.end(from, id, Standing::Unwanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use reeve_engine::btree::StoreOptions;
    use reeve_raft::{ConfigurationState, LogPoint};

    fn receiving() -> Receiving {
        let options = BuilderOptions {
            store: StoreOptions::default(),
            identity: [1, 2],
            dirty_bytes: 1 << 20,
            slice_bytes: 1 << 16,
            sync_bytes: 1 << 16,
            input_bytes: 1 << 16,
        };
        Receiving {
            from: 1,
            id: SnapshotId {
                incarnation: 1,
                number: 1,
            },
            term: 1,
            point: SnapshotPoint {
                point: LogPoint { index: 1, term: 1 },
                configuration: ConfigurationState::default(),
            },
            builder: SnapshotBuilder::new("/pages".into(), TOKEN_BUILDER, options),
            stage: Stage::Building,
            early: BTreeMap::new(),
            early_bytes: 0,
            next: 1,
            owes_receipt: false,
            heard: 0,
        }
    }

    #[test]
    fn parts_without_bytes_do_not_wait_without_number() {
        let mut receiving = receiving();
        for place in 2..100_000 {
            receiving.take(place, Content::Middle(Bytes::new()), 1 << 16);
        }
        assert_eq!(receiving.early.len(), (1 << 16) / PART_OVERHEAD);
        receiving.take(1, Content::Middle(Bytes::new()), 1 << 16);
        assert!(receiving.early.contains_key(&1), "what is next always fits");
    }
}
