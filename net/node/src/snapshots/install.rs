//! The last steps of a snapshot: its record in the log, its name, and the new store in the place of the old.

use super::incoming::{Receiving, Stage};
use super::part::Standing;
use super::{TOKEN_BUILDER, TOKEN_CLOSE, TOKEN_NAME, page_files};
use crate::NodeError;
use crate::apply::Pipeline;
use crate::housekeeping::Housekeeping;
use crate::node::{Node, Published, Turn};
use crate::recovery::insist;
use reeve_engine::disk::{Completion, Disk, Operation};
use reeve_engine::members::MemberTable;
use reeve_engine::mvcc::{Applier, Events};
use reeve_engine::pages::Stop;
use reeve_engine::wal::{Position, Record, SnapshotPoint as LogSnapshotPoint};
use reeve_raft::SnapshotPoint;
use std::sync::Arc;

/// How far installing has come.
#[derive(Debug)]
pub(super) struct Installation {
    /// The group of the log that holds the record.
    position: Position,
    /// What is still to be done before the file has its name, the next one last; `None` before the record is durable.
    naming: Option<Vec<Operation>>,
    /// One of them is under way.
    waits: bool,
}

impl<D: Disk> Node<D> {
    /// Writes to the log that a snapshot is installed, as the core asks. All entries are void with that.
    pub(crate) fn log_snapshot(&mut self, point: &SnapshotPoint) -> Result<Position, NodeError> {
        // What was handed over before and is not applied is part of the snapshot.
        self.pipeline.abandon();
        self.waits_for_pages = false;
        let Some(receiving) = &mut self.incoming.receiving else {
            unreachable!("the core installs what it was offered")
        };
        self.wal.append(Record::SnapshotPoint(LogSnapshotPoint {
            index: point.point.index,
            term: point.point.term,
            data: page_files::record_of(receiving.builder.path()),
        }))?;
        // As long as no entry has changed the members, the store has no row of them.
        let configuration = Record::Configuration(point.configuration.to_bytes());
        let position = self.wal.append(configuration)?;
        let stage = std::mem::replace(&mut receiving.stage, Stage::Leaving);
        let Stage::Offered(lessor) = stage else {
            unreachable!("the core installs what it was offered")
        };
        let installation = Installation {
            position,
            naming: None,
            waits: false,
        };
        receiving.stage = Stage::Installing(lessor, installation);
        Ok(position)
    }

    /// Takes the end of an operation on the files of a snapshot.
    pub(crate) fn on_snapshot_completion(
        &mut self,
        completion: Completion,
    ) -> Result<(), NodeError> {
        if completion.token == TOKEN_BUILDER {
            self.incoming.built(completion);
            return Ok(());
        }
        // After the record nothing can be taken back: a restart tries again.
        completion.result?;
        if completion.token == TOKEN_NAME
            && let Some(Receiving {
                stage: Stage::Installing(_, installation),
                ..
            }) = &mut self.incoming.receiving
        {
            installation.waits = false;
        }
        Ok(())
    }

    pub(super) fn continue_installing(
        &mut self,
        now_ms: u64,
        turn: &mut Turn,
    ) -> Result<(), NodeError> {
        let durable = self.wal.durable_position();
        let swaps_early = self.options.planted.swaps_early();
        let Some(Receiving {
            stage: Stage::Installing(_, installation),
            builder,
            ..
        }) = &mut self.incoming.receiving
        else {
            unreachable!("the caller has seen the stage")
        };
        if installation.waits || (durable < installation.position && !swaps_early) {
            return Ok(());
        }
        let naming = installation.naming.get_or_insert_with(|| {
            let path = builder.path().to_path_buf();
            let mut operations = Vec::from(page_files::naming(self.page_files.path(), path));
            operations.reverse();
            operations
        });
        if let Some(operation) = naming.pop() {
            installation.waits = true;
            self.disk.submit(TOKEN_NAME, operation);
            return Ok(());
        }
        // What goes on in the old file ends first.
        if self.checkpoints.is_idle() {
            self.swap_store(now_ms, turn)?;
        }
        Ok(())
    }

    /// Goes on with the new store.
    fn swap_store(&mut self, now_ms: u64, turn: &mut Turn) -> Result<(), NodeError> {
        let Some(Receiving {
            stage: Stage::Installing(lessor, _),
            builder,
            from,
            id,
            point,
            ..
        }) = self.incoming.receiving.take()
        else {
            unreachable!("the caller has seen the stage")
        };
        let Some((store, file)) = builder.into_store() else {
            unreachable!("only a durable file is installed")
        };
        let space = Arc::clone(store.space());
        // The few pages that this needs were written moments ago.
        let mut bring_in = |stop| match stop {
            Stop::NeedPages(faults) => space.bring_in(&faults).map_err(NodeError::Damage),
            stop => Err(NodeError::from_stop(stop)),
        };
        let applier = insist(&mut bring_in, || Applier::open(&store))?;
        self.housekeeping = Housekeeping::new(&store, &mut bring_in)?;
        let state = applier.state();
        let members = insist(&mut bring_in, || MemberTable::load(&store))?;
        self.pipeline = Pipeline::new(applier, members, &self.options)?;
        self.agreement.forget();
        self.lessor = *lessor;
        self.lease_questions.changed();
        if self.raft.is_leader() {
            self.lessor.promote(self.options.election_ms, now_ms);
        }
        let old_file = self.checkpoints.replace_file(file);
        self.disk
            .submit(TOKEN_CLOSE, Operation::Close { file: old_file });
        self.outgoing.clear();
        self.store = store;
        self.waits_for_pages = false;
        turn.faults.clear();
        turn.snapshot_faults.clear();
        turn.store_replaced = true;
        self.note_jump(state.revision, turn);
        self.raft.applied(state.applied_index);
        self.incoming.end(from, id, Standing::Installed);
        turn.work_left = true;
        turn.reports.push(format!(
            "installed a snapshot of entry {} from member {from:x}",
            point.point.index
        ));
        Ok(())
    }

    /// Tells who follows the history that it goes on elsewhere.
    fn note_jump(&mut self, revision: i64, turn: &mut Turn) {
        self.events.clear();
        let after_revision = std::mem::replace(&mut self.published_revision, revision);
        turn.published.push(Published {
            after_revision,
            revision,
            events: Events::new(),
            is_jump: true,
        });
    }
}
