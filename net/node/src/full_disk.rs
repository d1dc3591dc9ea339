//! A member whose disk is full: what it gives up, and what it does not take, so that it goes on as soon as it can.
//!
//! A leader refuses what clients want to store, but a follower is not asked: the leader's entries come as they are
//! committed by others. What the log gathered for a full disk would wait in memory, and before it the records of
//! checkpoints, which alone make segments free. So a follower takes no entries that would use up the last room of its
//! log's segment; to its leader they are lost, and are sent again. And the entries that stay behind a checkpoint for other
//! members go: those get a snapshot.

use crate::node::{Node, Turn};
use reeve_engine::disk::Disk;
use reeve_engine::wal::Space;
use reeve_raft::{Body, Entry, EntryKind};

/// Bytes of the log's segment that are kept for what is not an entry, if the segment is not very small.
const RESERVED_LOG_BYTES: u64 = 1 << 20;
/// The part of a small segment that is kept.
const RESERVED_PART: u64 = 8;
/// A batch of up to this part of what is kept may use half of that: a member that only lags a little goes on, and with it
/// what frees space.
const SMALL_PART: u64 = 4;
/// Bytes that an entry takes in the log beside its data, at most.
const ENTRY_OVERHEAD: u64 = 64;

/// Bytes that have to be left of a segment of this size before these entries are taken.
fn room_wanted(entries: &[Entry], segment: u64) -> u64 {
    let bytes: u64 = entries
        .iter()
        .map(|entry| entry.data.len() as u64 + ENTRY_OVERHEAD)
        .sum();
    let reserved = RESERVED_LOG_BYTES.min(segment / RESERVED_PART);
    let has_commands = entries.iter().any(|it| it.kind == EntryKind::Command);
    let kept = match has_commands {
        // A leader that begins, and changes of the members: rare, small, and without them nothing goes on.
        false => reserved / 4,
        true if bytes <= reserved / SMALL_PART => reserved / 2,
        true => reserved,
    };
    bytes + kept
}

impl<D: Disk> Node<D> {
    /// Whether there is room for what a message brings.
    pub(crate) fn has_room_for(&self, body: &Body) -> bool {
        let Body::Append { entries, .. } = body else {
            return true;
        };
        // With a further segment at hand it is the page file that lacks room, and what frees that has to come through.
        let has_segment = self.wal.space() == Space::Ready;
        if entries.is_empty() || !self.is_disk_full || has_segment {
            return true;
        }
        let room = self.wal.segment_room();
        room.left >= room_wanted(entries, room.segment)
    }

    /// Notes, and says, when the disk becomes full and when it has room again; meanwhile the log gives up what it can.
    pub(crate) fn watch_disk_room(&mut self, turn: &mut Turn) {
        // A disk that was full is asked again now and then, and counts as full until it has granted what was asked for.
        let is_full = match self.wal.space() {
            _ if self.checkpoints.is_out_of_room() => true,
            Space::Full => true,
            Space::Preparing => self.is_disk_full,
            Space::Ready => false,
        };
        if is_full != self.is_disk_full {
            self.is_disk_full = is_full;
            if is_full {
                turn.notices.push(
                    "the disk is full: what would grow the store is refused until there is room; free space on its \
                     file system, or delete keys and compact"
                        .to_owned(),
                );
            } else {
                turn.reports.push("the disk has room again".to_owned());
            }
        }
        if is_full {
            self.cut_log();
        }
    }

    /// Gives up the entries of the log that neither this member nor, as far as it keeps them for those, others need.
    pub(crate) fn cut_log(&mut self) {
        let floor = self.log_floor(self.wal.snapshot_point().index);
        if floor >= self.wal.first_index() {
            self.wal.truncate_before(floor + 1);
            self.raft.compact(floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry(kind: EntryKind, bytes: usize) -> Entry {
        Entry {
            term: 1,
            index: 1,
            kind,
            data: Bytes::from(vec![0; bytes]),
        }
    }

    #[test]
    fn small_batches_reach_into_what_is_kept_and_a_leader_that_begins_further() {
        let segment = 64 << 20;
        let wanted = |kind, bytes| {
            let entries = [entry(kind, bytes)];
            room_wanted(&entries, segment) - bytes as u64 - ENTRY_OVERHEAD
        };
        let small = (RESERVED_LOG_BYTES / SMALL_PART - ENTRY_OVERHEAD) as usize;
        assert_eq!(wanted(EntryKind::Command, small + 1), RESERVED_LOG_BYTES);
        assert_eq!(wanted(EntryKind::Command, small), RESERVED_LOG_BYTES / 2);
        assert_eq!(wanted(EntryKind::Empty, 0), RESERVED_LOG_BYTES / 4);
        // What follows an entry of a client is a part of the same batch.
        let both = [entry(EntryKind::Command, small), entry(EntryKind::Empty, 0)];
        assert!(room_wanted(&both, segment) > RESERVED_LOG_BYTES);
        // Of a small segment, less is kept.
        let only = [entry(EntryKind::Empty, 0)];
        assert_eq!(room_wanted(&only, 3200), ENTRY_OVERHEAD + 100);
    }
}
