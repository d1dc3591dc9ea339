//! What a flush makes durable, what a failure leaves in doubt, and which files are still reachable.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::contents::{Change, Contents, NameChange, Node};
use super::{OpenFile, State, describe};
use crate::disk::{DiskError, Operation};

impl State {
    /// The operation fails; what it was to change may have happened in part, for ever unknown.
    pub(super) fn fail(
        &mut self,
        number: u64,
        operation: &Operation,
        target: Option<&OpenFile>,
        errno: i32,
    ) -> DiskError {
        let (action, path) = describe(operation);
        let path = target.map_or(path, |open| open.path.as_path());
        let flushes = matches!(
            operation,
            Operation::Sync { .. } | Operation::WriteDurable { .. }
        );
        for unit in &mut self.unflushed {
            let flushed = match &unit.change {
                Change::Name(change) => {
                    matches!(operation, Operation::SyncDirectory { .. }) && change.is_in(path)
                }
                change => flushes && change.inode() == target.map(|open| open.inode),
            };
            unit.orphaned |= unit.number == number || flushed;
        }
        DiskError::from_errno(action, path, errno)
    }

    /// Makes durable what had completed for a file before the flush with this number was submitted,
    /// and what the same operation has written.
    pub(super) fn flush(&mut self, inode: u64, number: u64) {
        let durable = &mut self.durable;
        self.unflushed.retain(|unit| {
            let before = unit.completed.is_some_and(|completed| completed <= number);
            let covered = before || unit.number == number;
            let flushed = covered && !unit.orphaned && unit.change.inode() == Some(inode);
            if flushed {
                durable.apply(&unit.change);
            }
            !flushed
        });
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
            if covered && !unit.orphaned && (change.is_in(directory) || needed.contains(gives)) {
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
