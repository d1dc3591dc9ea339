//! Work that can wait: giving back the space of compacted history.

use crate::NodeError;
use crate::node::{Node, Turn};
use crate::recovery::insist;
use reeve_engine::btree::Store;
use reeve_engine::disk::Disk;
use reeve_engine::mvcc::{Budget, CompactTask, Step};
use reeve_engine::pages::Stop;

/// Rows that a compaction looks at in one turn.
const COMPACTION_SLICE: u32 = 256;

/// See the module.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    compaction: Option<CompactTask>,
    /// All space is given back that a compaction at this revision gives up.
    compacted: i64,
}

impl Housekeeping {
    pub(crate) fn new(
        store: &Store,
        bring_in: &mut dyn FnMut(Stop) -> Result<(), NodeError>,
    ) -> Result<Self, NodeError> {
        let due = insist(bring_in, || CompactTask::is_due(store))?;
        let compacted = insist(bring_in, || reeve_engine::mvcc::State::load(store))?.compacted;
        Ok(Housekeeping {
            compaction: due.then(CompactTask::new),
            compacted: if due {
                reeve_engine::mvcc::NEVER_COMPACTED
            } else {
                compacted
            },
        })
    }
}

impl<D: Disk> Node<D> {
    /// The revision up to which the space of compacted history is given back.
    #[must_use]
    pub fn compaction_finished(&self) -> i64 {
        self.housekeeping.compacted
    }

    /// Does a slice of the work that can wait, unless an entry is under way.
    pub(crate) fn housekeep(&mut self, turn: &mut Turn) -> Result<(), NodeError> {
        let compacted = self.pipeline.applier().state().compacted;
        if self.housekeeping.compaction.is_none() && compacted > self.housekeeping.compacted {
            self.housekeeping.compaction = Some(CompactTask::new());
        }
        if self.incoming.is_installing()
            || self.waits_for_pages
            || self.pipeline.is_inside_entry()
            || self.pipeline.is_dirty()
            || self.is_behind_with_pages()
            || self.is_regaining_pages()
        {
            return Ok(());
        }
        let Some(task) = &mut self.housekeeping.compaction else {
            return Ok(());
        };
        match task.step(
            &mut self.store,
            compacted,
            &mut Budget::new(COMPACTION_SLICE),
        ) {
            Ok(Step::Yield) => turn.work_left = true,
            Ok(Step::Done(_) | Step::Refused(_)) => {
                self.housekeeping.compaction = None;
                self.housekeeping.compacted = compacted;
            }
            Err(Stop::NeedPages(faults)) => self.wait_for_pages(faults, turn),
            // The next turn with room goes on.
            Err(Stop::NoSpace(_)) => {}
            Err(stop) => return Err(NodeError::from_stop(stop)),
        }
        self.store.publish();
        Ok(())
    }
}
