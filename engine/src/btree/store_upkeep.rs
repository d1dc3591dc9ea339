//! What keeps a store going: checkpoints, room in the file, pins.

use super::store::Store;
use crate::disk::DiskError;
use crate::pages::{
    CheckpointJob, CheckpointSummary, Meta, PinInfo, SpaceRequest, WriteOutSummary, WritePlan, lock,
};

impl Store {
    /// Begins a checkpoint of the published state. `applied` is index and term of the last log entry in it.
    /// The job runs on any thread, or in steps; give it back to [`Store::finish_write_out`].
    ///
    /// `None` if there is no file, a job is under way, an earlier one has failed, or there are
    /// changes that are not published.
    #[must_use]
    pub fn begin_checkpoint(
        &mut self,
        applied: (u64, u64),
        plan: WritePlan,
    ) -> Option<CheckpointJob> {
        if !self.workspace.can_write_out() || !self.workspace.is_published() {
            return None;
        }
        let (applied_index, applied_term) = applied;
        let summary = CheckpointSummary {
            applied_index,
            applied_term,
            ..Default::default()
        };
        let mut meta = Meta {
            summary,
            ..Meta::default()
        };
        for (place, tree) in meta.roots.iter_mut().zip(&self.root.trees) {
            *place = (tree.reference, tree.level);
        }
        Some(self.workspace.begin_checkpoint(meta, plan))
    }

    /// Begins to write all changed pages to the file, also unpublished ones, without making a checkpoint:
    /// a batch that changes more than memory holds (one revision that deletes millions of keys) is
    /// written out like this while it grows. `None` as for [`Store::begin_checkpoint`], but for changes.
    #[must_use]
    pub fn begin_spill(&mut self, plan: WritePlan) -> Option<CheckpointJob> {
        self.workspace
            .can_write_out()
            .then(|| self.workspace.begin_spill(plan))
    }

    /// Takes back a job that is [`Finished`](crate::pages::Progress::Finished).
    ///
    /// # Errors
    /// What made it fail. The file still holds the checkpoint before, but nothing more will be written to
    /// it: the node must stop.
    pub fn finish_write_out(&mut self, job: CheckpointJob) -> Result<WriteOutSummary, DiskError> {
        let mut trees = self.root.trees;
        for tree in &mut trees {
            job.complete(&mut tree.reference);
        }
        let summary = self.workspace.finish_write_out(job)?;
        self.root.trees = trees;
        Ok(summary)
    }

    /// The older of the two checkpoints in the file: the log must be kept from its index on.
    #[must_use]
    pub fn oldest_checkpoint(&self) -> CheckpointSummary {
        self.workspace.oldest_checkpoint()
    }

    /// The newest checkpoint in the file.
    #[must_use]
    pub fn newest_checkpoint(&self) -> CheckpointSummary {
        self.workspace.newest_checkpoint()
    }

    /// What to have allocated in the file now, if room runs low. Ask after each batch, and whenever an
    /// operation stops with [`Stop::NoSpace`](crate::pages::Stop::NoSpace), which is final only if this answers `None` or the disk refuses.
    #[must_use]
    pub fn space_wanted(&self) -> Option<SpaceRequest> {
        self.workspace.space_wanted()
    }

    /// The request has been met.
    pub fn space_granted(&mut self, request: SpaceRequest) {
        self.workspace.space_granted(request);
    }

    /// Whether insertions are refused because only the reserve is left.
    #[must_use]
    pub fn is_short_of_space(&self) -> bool {
        self.workspace.is_short_of_space()
    }

    /// Bytes of the file as far as it is allocated.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.workspace.file_bytes()
    }

    /// Bytes of the file up to the last page that was ever given out: pages that are in use, and free ones between them.
    #[must_use]
    pub fn occupied_bytes(&self) -> u64 {
        self.workspace.occupied_bytes()
    }

    /// Bytes of the file that the working root uses.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.workspace.used_bytes()
    }

    /// All pins, oldest first, with the bytes that each alone keeps.
    #[must_use]
    pub fn pins(&self) -> Vec<PinInfo> {
        let limbo = self.workspace.limbo();
        lock(self.workspace.pins()).list(|stamp| limbo.bytes_of_pin(stamp))
    }

    /// Bytes of pages that are no longer part of the working root but are kept for readers and pins.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.workspace.limbo().bytes()
    }

    /// Ends a pin: no view of it is given out any more, and what it keeps is reused once the views
    /// that exist are gone. False if there is no such pin.
    pub fn abort_pin(&mut self, id: u64) -> bool {
        self.workspace.abort_pin(id)
    }
}
