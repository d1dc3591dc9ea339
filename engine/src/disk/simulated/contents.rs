//! A tree of names and the files behind them, and the changes that can be made to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::image::Image;
use crate::disk::{Action, DirectoryEntry, DiskError};

/// Bytes that reach the medium together or not at all.
pub const SECTOR_BYTES: usize = 512;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Directory,
}

/// One change of names; each happens as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NameChange {
    Create { path: PathBuf, inode: u64 },
    CreateDirectory { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

impl NameChange {
    /// Whether a flush of `directory` makes this change durable.
    pub(super) fn is_in(&self, directory: &Path) -> bool {
        let inside = |path: &Path| path.parent() == Some(directory);
        match self {
            Self::Create { path, .. } | Self::CreateDirectory { path } | Self::Remove { path } => {
                inside(path)
            }
            Self::Rename { from, to } => inside(from) || inside(to),
        }
    }
}

/// One change of the medium.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write {
        inode: u64,
        offset: u64,
        bytes: Rc<[u8]>,
    },
    Length {
        inode: u64,
        length: u64,
    },
    Grow {
        inode: u64,
        end: u64,
    },
    Name(NameChange),
}

impl Change {
    pub(super) fn inode(&self) -> Option<u64> {
        match self {
            Self::Write { inode, .. } | Self::Length { inode, .. } | Self::Grow { inode, .. } => {
                Some(*inode)
            }
            Self::Name(_) => None,
        }
    }

    /// Takes over the bytes of a newer write of the same file, as far as the two overlap, and ends where a newer change
    /// has ended the file.
    pub(super) fn overwrite(&mut self, newer: &Change) {
        let Self::Write { offset, bytes, .. } = self else {
            return;
        };
        let mut patched = bytes.to_vec();
        match newer {
            Self::Write {
                offset: newer_offset,
                bytes: newer_bytes,
                ..
            } => {
                let first = (*offset).max(*newer_offset);
                let end =
                    (*offset + bytes.len() as u64).min(newer_offset + newer_bytes.len() as u64);
                if first >= end {
                    return;
                }
                let (here, there) = ((first - *offset) as usize, (first - newer_offset) as usize);
                let length = (end - first) as usize;
                patched[here..here + length].copy_from_slice(&newer_bytes[there..there + length]);
            }
            Self::Length { length, .. } => {
                patched.truncate(length.saturating_sub(*offset) as usize);
            }
            Self::Grow { .. } | Self::Name(_) => return,
        }
        *bytes = patched.into();
    }
}

/// The files of a medium, as programs see them or as they would survive a loss of power.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    pub(super) names: BTreeMap<PathBuf, Node>,
    pub(super) images: BTreeMap<u64, Image>,
}

impl Contents {
    pub(super) fn new() -> Self {
        let names = BTreeMap::from([(PathBuf::from("/"), Node::Directory)]);
        Self {
            names,
            images: BTreeMap::new(),
        }
    }

    pub(super) fn inode(&self, path: &Path) -> Option<u64> {
        match self.names.get(path) {
            Some(Node::File(inode)) => Some(*inode),
            _ => None,
        }
    }

    fn is_directory(&self, path: Option<&Path>) -> bool {
        path.is_some_and(|path| self.names.get(path) == Some(&Node::Directory))
    }

    /// Makes a change as far as its prerequisites hold: names that do not exist are not changed.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write {
                inode,
                offset,
                bytes,
            } => {
                self.images.entry(*inode).or_default().write(*offset, bytes);
            }
            Change::Length { inode, length } => {
                self.images.entry(*inode).or_default().set_length(*length);
            }
            Change::Grow { inode, end } => self.images.entry(*inode).or_default().grow(*end),
            Change::Name(change) => {
                if self.check(change).is_ok() {
                    self.rename(change);
                }
            }
        }
    }

    /// Applies only those sectors of a write that `kept` accepts; other changes are made whole.
    pub(super) fn apply_torn(&mut self, change: &Change, kept: &[bool]) {
        let Change::Write {
            inode,
            offset,
            bytes,
        } = change
        else {
            return self.apply(change);
        };
        for (sector, piece) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if kept.get(sector).copied().unwrap_or(false) {
                let at = offset + (sector * SECTOR_BYTES) as u64;
                self.images.entry(*inode).or_default().write(at, piece);
            }
        }
    }

    /// Why a change of names is impossible, as a program would be told.
    pub(super) fn check(&self, change: &NameChange) -> Result<(), DiskError> {
        let missing = |action, path: &Path| {
            Err(DiskError::NotFound {
                action,
                path: path.to_path_buf(),
            })
        };
        match change {
            NameChange::Create { path, .. } if !self.is_directory(path.parent()) => {
                missing(Action::Open, path)
            }
            NameChange::CreateDirectory { path } if !self.is_directory(path.parent()) => {
                missing(Action::CreateDirectory, path)
            }
            NameChange::CreateDirectory { path } if self.names.contains_key(path) => {
                let action = Action::CreateDirectory;
                Err(DiskError::AlreadyExists {
                    action,
                    path: path.clone(),
                })
            }
            NameChange::Rename { from, to } => {
                if self.inode(from).is_some() && self.is_directory(to.parent()) {
                    return Ok(());
                }
                missing(Action::Rename, from)
            }
            NameChange::Remove { path } if self.inode(path).is_none() => {
                missing(Action::Remove, path)
            }
            _ => Ok(()),
        }
    }

    fn rename(&mut self, change: &NameChange) {
        match change {
            NameChange::Create { path, inode } => {
                self.names.insert(path.clone(), Node::File(*inode));
                self.images.entry(*inode).or_default();
            }
            NameChange::CreateDirectory { path } => {
                self.names.insert(path.clone(), Node::Directory);
            }
            NameChange::Rename { from, to } => {
                if let Some(node) = self.names.remove(from) {
                    self.names.insert(to.clone(), node);
                }
            }
            NameChange::Remove { path } => {
                self.names.remove(path);
            }
        }
    }

    pub(super) fn list(&self, directory: &Path) -> Result<Vec<DirectoryEntry>, DiskError> {
        if !self.is_directory(Some(directory)) {
            let path = directory.to_path_buf();
            return Err(DiskError::NotFound {
                action: Action::List,
                path,
            });
        }
        let inside = self
            .names
            .iter()
            .filter(|(path, _)| path.parent() == Some(directory));
        Ok(inside
            .map(|(path, node)| DirectoryEntry {
                name: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                is_directory: *node == Node::Directory,
            })
            .collect())
    }

    /// Bytes taken on the device.
    pub(super) fn allocated(&self) -> u64 {
        self.images.values().map(Image::allocated).sum()
    }
}
