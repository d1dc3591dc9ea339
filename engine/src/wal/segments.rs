//! The segments that hold the log, and where in them entries are found.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::format::HIGHEST;
use crate::disk::{BLOCK_BYTES, FileHandle};

/// Where a segment's first group begins.
pub(super) const FIRST_GROUP: u64 = BLOCK_BYTES as u64;
/// At most one location is kept for so many bytes of log: 24 bytes of memory for 64 KiB of disk.
const LOCATION_SPACING: u64 = 64 << 10;
/// The name under which a segment is made, until it is complete.
pub(super) const SPARE_NAME: &str = "next.spare";
/// Ends of the names of half-made and of complete segments.
pub(super) const SPARE_SUFFIX: &str = ".spare";
pub(super) const SEGMENT_SUFFIX: &str = ".wal";

/// The path of a segment.
pub(super) fn segment_path(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("{id:016x}{SEGMENT_SUFFIX}"))
}

/// The path of a segment's file once it is no longer needed.
pub(super) fn spare_path(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("{id:016x}{SPARE_SUFFIX}"))
}

/// The id in a segment's file name: 16 lower-case hexadecimal digits before the suffix.
pub(super) fn segment_id(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 16 || !digits.bytes().all(lower) {
        return None;
    }
    u64::from_str_radix(digits, 16)
        .ok()
        .filter(|id| (1..=HIGHEST).contains(id))
}

/// The place of a group that begins with, or reaches back to, an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    /// The lowest entry of the group.
    pub(super) index: u64,
    /// The group's number; 0 if it is whichever stands there.
    pub(super) group: u64,
    /// Its first byte in the segment.
    pub(super) offset: u64,
}

/// A segment in use.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: u64,
    pub(super) path: PathBuf,
    pub(super) file: FileHandle,
    /// The file's length.
    pub(super) bytes: u64,
    /// Where its last group ends, be it flushed or in flight.
    pub(super) end: u64,
    /// The highest entry ever written into it.
    pub(super) max_index: u64,
    /// Ascending in index and offset; sparse.
    locations: Vec<Location>,
}

impl Segment {
    pub(super) fn new(id: u64, path: PathBuf, file: FileHandle, bytes: u64) -> Self {
        Self {
            id,
            path,
            file,
            bytes,
            end: FIRST_GROUP,
            max_index: 0,
            locations: Vec::new(),
        }
    }

    /// Whether no group has been written to it.
    pub(super) fn is_unused(&self) -> bool {
        self.end == FIRST_GROUP
    }

    /// Bytes to which nothing has been written.
    pub(super) fn bytes_left(&self) -> u64 {
        self.bytes.saturating_sub(self.end)
    }

    /// Whether so many more blocks fit.
    pub(super) fn fits(&self, blocks: usize) -> bool {
        self.end + (blocks * BLOCK_BYTES) as u64 <= self.bytes
    }
}

/// The segments of the log in their order; the last is the one being written.
#[derive(Debug, Default)]
pub(super) struct Segments {
    list: VecDeque<Segment>,
}

impl Segments {
    pub(super) fn push(&mut self, segment: Segment) {
        self.list.push_back(segment);
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn current(&self) -> &Segment {
        let Some(segment) = self.list.back() else {
            unreachable!("a log has a segment")
        };
        segment
    }

    pub(super) fn current_mut(&mut self) -> &mut Segment {
        let Some(segment) = self.list.back_mut() else {
            unreachable!("a log has a segment")
        };
        segment
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.list.iter()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Segment> {
        let first = self.list.front()?.id;
        self.list.get(usize::try_from(id.checked_sub(first)?).ok()?)
    }

    /// Notes that a group with entries from `min` to `max` (none if `min` is 0) has been placed at the
    /// end of the current segment and takes so many bytes.
    pub(super) fn note_group(&mut self, number: u64, min: u64, max: u64, bytes: u64) {
        if min > 0 {
            self.supersede(min);
        }
        let current = self.current_mut();
        current.max_index = current.max_index.max(max);
        let offset = current.end;
        current.end += bytes;
        let last = current.locations.last();
        if min > 0 && last.is_none_or(|last| offset - last.offset >= LOCATION_SPACING) {
            current.locations.push(Location {
                index: min,
                group: number,
                offset,
            });
        }
    }

    /// Forgets where entries from an index on were.
    fn supersede(&mut self, index: u64) {
        for segment in self.list.iter_mut().rev() {
            let before = segment.locations.len();
            let keep = segment
                .locations
                .partition_point(|location| location.index < index);
            segment.locations.truncate(keep);
            if keep == before && before > 0 {
                return;
            }
        }
    }

    /// Where to start reading so as to meet an entry: the segment's id and the place in it.
    pub(super) fn locate(&self, index: u64) -> Option<(u64, Location)> {
        for segment in self.list.iter().rev() {
            let after = segment
                .locations
                .partition_point(|location| location.index <= index);
            if let Some(location) = after
                .checked_sub(1)
                .and_then(|at| segment.locations.get(at))
            {
                return Some((segment.id, *location));
            }
        }
        let first = self.list.front()?;
        Some((
            first.id,
            Location {
                index: 0,
                group: 0,
                offset: FIRST_GROUP,
            },
        ))
    }

    /// Segments at the front that hold nothing from `index` on, whose successor holds a flushed
    /// group (whose head repeats what they said), and which no reader needs.
    pub(super) fn retired(&self, index: u64, flushed: bool, lowest_read: Option<u64>) -> usize {
        let unneeded = |segment: &&Segment| {
            segment.max_index < index && lowest_read.is_none_or(|lowest| segment.id < lowest)
        };
        let count = self.list.iter().take_while(unneeded).count();
        // The successor of the last one to go must have a flushed group of its own. Every segment but
        // the current one has; the current one has if more than its first group was begun, or if that
        // one is flushed.
        let stay = if flushed { 1 } else { 2 };
        count.min(self.list.len().saturating_sub(stay))
    }

    pub(super) fn take_front(&mut self) -> Option<Segment> {
        self.list.pop_front()
    }
}

#[cfg(test)]
mod segments_test {
    use super::*;

    fn segment(id: u64) -> Segment {
        Segment::new(
            id,
            segment_path(Path::new("/wal"), id),
            FileHandle(id as u32),
            1 << 20,
        )
    }

    #[test]
    fn names_round_trip_and_foreign_ones_are_told() {
        let path = segment_path(Path::new("/wal"), 0x2f);
        assert_eq!(path, Path::new("/wal/000000000000002f.wal"));
        assert_eq!(segment_id("000000000000002f.wal"), Some(0x2f));
        let foreign = [
            "0000000000000000-0000000000000000.wal",
            "000000000000002F.wal",
            "2f.wal",
            "+00000000000002f.wal",
            "0000000000000000.wal",
            "000000000000002f.tmp",
        ];
        assert!(foreign.iter().all(|name| segment_id(name).is_none()));
    }

    #[test]
    fn locations_are_sparse_and_superseded_ones_are_forgotten() {
        let mut segments = Segments::default();
        segments.push(segment(5));
        for group in 1..=20 {
            segments.note_group(group, group * 10, group * 10 + 9, 32 << 10);
        }
        let at = |index| {
            segments
                .locate(index)
                .map(|(id, location)| (id, location.group))
        };
        assert_eq!(at(25), Some((5, 1)));
        assert_eq!(at(30), Some((5, 3)));
        assert_eq!(at(5), Some((5, 0)), "from the very start");
        segments.push(segment(6));
        segments.note_group(21, 55, 60, 4096);
        let at = |index| {
            segments
                .locate(index)
                .map(|(id, location)| (id, location.group))
        };
        assert_eq!(
            (at(54), at(55), at(500)),
            (Some((5, 5)), Some((6, 21)), Some((6, 21)))
        );
        segments.note_group(22, 7, 7, 4096);
        let at = |index| {
            segments
                .locate(index)
                .map(|(id, location)| (id, location.group))
        };
        assert_eq!(
            (at(6), at(7), at(60)),
            (Some((5, 0)), Some((6, 22)), Some((6, 22)))
        );
    }

    #[test]
    fn only_segments_that_nothing_needs_are_retired() {
        let mut segments = Segments::default();
        for id in 1..=4 {
            segments.push(segment(id));
            segments.note_group(id, id * 10, id * 10 + 9, 4096);
        }
        assert_eq!(segments.retired(30, true, None), 2);
        assert_eq!(segments.retired(29, true, None), 1);
        assert_eq!(
            segments.retired(100, true, None),
            3,
            "the current one stays"
        );
        assert_eq!(
            segments.retired(100, false, None),
            2,
            "and the one before, if its head is not flushed"
        );
        assert_eq!(segments.retired(100, true, Some(2)), 1);
    }
}
