//! What a flush makes durable, what a failure leaves in doubt, and which files are still reachable.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::contents::{Change, Contents, NameChange, Node, SECTOR_BYTES};
use super::super::crash::{Chance, Fate, Unflushed};
use super::{OpenFile, State, describe};
use crate::disk::{DiskError, Operation};

impl State {
    /// The operation fails. What it was to change may have happened in whole or in part: that is drawn, and programs see
    /// it from now on. A failed flush leaves the bytes in doubt that it was to make durable: no later flush covers them.
    /// Changes of names and lengths stay in the file system's journal, for the next flush.
    pub(super) fn fail(
        &mut self,
        number: u64,
        operation: &Operation,
        target: Option<&OpenFile>,
        errno: i32,
    ) -> DiskError {
        let (action, path) = describe(operation);
        let path = target.map_or(path, |open| open.path.as_path());
        let error = DiskError::from_errno(action, path, errno);
        self.half_do(number, operation, target);
        let flushes = matches!(
            operation,
            Operation::Sync { .. } | Operation::WriteDurable { .. }
        );
        for unit in &mut self.unflushed {
            let Change::Write { inode, .. } = &unit.change else {
                continue;
            };
            let was_covered = unit.completed.is_some() && Some(*inode) == target.map(|it| it.inode);
            unit.orphaned |= unit.number == number || flushes && was_covered;
        }
        error
    }

    /// Draws how much of a failed change has happened, and makes that visible.
    fn half_do(&mut self, number: u64, operation: &Operation, target: Option<&OpenFile>) {
        let place = |unit: &Unflushed| unit.number == number;
        let Some(at) = self.unflushed.iter().position(place) else {
            return;
        };
        let fate = Chance::new(number).fate(self.unflushed[at].at_risk());
        if let (
            Fate::Torn(kept),
            Change::Write {
                inode,
                offset,
                bytes,
            },
        ) = (&fate, &self.unflushed[at].change)
        {
            // The rest stays what it is, so that it is as if just this had been written.
            let mut result = bytes.to_vec();
            let mut before = vec![0; bytes.len()];
            if let Some(image) = self.visible.images.get(inode) {
                image.read(*offset, &mut before);
            }
            let sectors = result
                .chunks_mut(SECTOR_BYTES)
                .zip(before.chunks(SECTOR_BYTES));
            for ((sector, before), kept) in sectors.zip(kept) {
                if !kept {
                    sector.copy_from_slice(before);
                }
            }
            let (inode, offset) = (*inode, *offset);
            self.unflushed[at].change = Change::Write {
                inode,
                offset,
                bytes: result.into(),
            };
        }
        if fate == Fate::Lost || self.complete_change(number, operation, target).is_err() {
            self.drop_change(number);
        }
    }

    /// Makes durable what had completed for a file before the flush with this number was submitted,
    /// and what the same operation has written.
    pub(super) fn flush(&mut self, inode: u64, number: u64) {
        let durable = &mut self.durable;
        let mut written: Vec<Change> = Vec::new();
        self.unflushed.retain(|unit| {
            let before = unit.completed.is_some_and(|completed| completed <= number);
            let covered = before || unit.number == number;
            let flushed = covered && !unit.orphaned && unit.change.inode() == Some(inode);
            if flushed {
                durable.apply(&unit.change);
                written.push(unit.change.clone());
            }
            !flushed
        });
        // What a failed flush has left in doubt does not come back over what was made durable in its place since.
        for unit in &mut self.unflushed {
            if unit.orphaned && unit.change.inode() == Some(inode) {
                written
                    .iter()
                    .for_each(|newer| unit.change.overwrite(newer));
            }
        }
    }

    /// The same for the names in a directory, and for earlier changes that they build on.
    pub(super) fn flush_names(&mut self, directory: &Path, number: u64) {
        let mut needed: BTreeSet<PathBuf> = BTreeSet::new();
        let mut selected = BTreeSet::new();
        for unit in self.unflushed.iter().rev() {
            let Change::Name(change) = &unit.change else {
                continue;
            };
            let covered = unit.completed.is_some_and(|completed| completed <= number);
            let gives = match change {
                NameChange::Create { path, .. } | NameChange::CreateDirectory { path } => path,
                NameChange::Rename { to, .. } => to,
                NameChange::Remove { path } => path,
            };
            if covered && (change.is_in(directory) || needed.contains(gives)) {
                selected.insert(unit.number);
                if let NameChange::Rename { from, .. } = change {
                    needed.insert(from.clone());
                }
            }
        }
        let durable = &mut self.durable;
        self.unflushed.retain(|unit| {
            let flushed = selected.contains(&unit.number);
            if flushed {
                durable.apply(&unit.change);
            }
            !flushed
        });
    }

    /// Frees files that no name, no program and no unflushed change can reach.
    pub(super) fn forget_unreachable(&mut self) {
        let named = |contents: &Contents| -> BTreeSet<u64> {
            let inode = |node: &Node| match node {
                Node::File(inode) => Some(*inode),
                Node::Directory => None,
            };
            contents.names.values().filter_map(inode).collect()
        };
        let mut used = named(&self.visible);
        let live = self.processes.iter().filter(|process| process.alive);
        used.extend(
            live.flat_map(|process| process.files.values())
                .map(|open| open.inode),
        );
        used.extend(
            self.pending
                .values()
                .filter_map(|op| op.target.as_ref())
                .map(|open| open.inode),
        );
        self.visible.images.retain(|inode, _| used.contains(inode));
        used.extend(named(&self.durable));
        used.extend(self.unflushed.iter().filter_map(|unit| match &unit.change {
            Change::Name(NameChange::Create { inode, .. }) => Some(*inode),
            change => change.inode(),
        }));
        self.durable.images.retain(|inode, _| used.contains(inode));
    }
}
