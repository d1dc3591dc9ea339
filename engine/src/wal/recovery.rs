//! Opening a log: everything is checked before anything is changed.

use std::path::{Path, PathBuf};

use super::blocking::{BlockReader, Blocking};
use super::format::{BlockHeader, largest_entry, seed_of, segment_payload_bytes};
use super::gather::{Gathering, Mark};
use super::log::Log;
use super::prepare::{Pace, Preparation, Prepared, Spare};
use super::read::Reads;
use super::scan::{Dirt, Found, Scan, open_segment};
use super::segments::{
    SEGMENT_SUFFIX, SPARE_NAME, SPARE_SUFFIX, Segment, Segments, segment_id, segment_path,
};
use super::{
    Damage, GROUP_BYTES, Identity, MAXIMUM_SEGMENT_BYTES, MINIMUM_SEGMENT_BYTES, Notice,
    POOL_BYTES, Position, Statistics, TOKEN_PREPARE, Wal, WalError, WalOptions, token_of,
};
use crate::disk::{
    AlignedBuffer, BLOCK_BYTES, BufferPool, Disk, DiskError, OpenOptions, Operation, Outcome,
};

/// Torn blocks are overwritten in pieces of this size.
const CLEAR_BYTES: u64 = 1 << 20;

/// A log that has been opened.
#[derive(Debug)]
pub struct Recovered {
    /// The log; what it holds is read from it.
    pub wal: Wal,
    /// No group has ever been written to it.
    pub created: bool,
    /// What an operator should be told.
    pub notices: Vec<Notice>,
}

/// The files of a log's directory.
struct Directory {
    /// Segments in the order of their ids.
    segments: Vec<(u64, PathBuf)>,
    /// Half-made segments.
    spares: Vec<PathBuf>,
}

impl Wal {
    /// Whose log lies in a directory; `None` if there is none. Blocks; the disk must have nothing
    /// outstanding.
    ///
    /// # Errors
    /// If the oldest segment is damaged or not one of this release's.
    pub fn peek(disk: &mut dyn Disk, directory: &Path) -> Result<Option<Identity>, WalError> {
        let mut blocking = Blocking::new(disk, 0);
        let Some(files) = list(&mut blocking, directory)? else {
            return Ok(None);
        };
        let Some((id, path)) = files.segments.into_iter().next() else {
            return Ok(None);
        };
        let (found, identity) = open_segment(&mut blocking, id, path)?;
        blocking.close(found.file);
        Ok(Some(identity))
    }

    /// Opens the log in a directory, and makes both if they do not exist (the directory's parent
    /// must). Blocks; the disk must have nothing outstanding. Reads every segment once, in bounded
    /// memory. What is reported as recovered is durable.
    ///
    /// # Errors
    /// If acknowledged records are damaged, if the log is another member's or another release's, or if
    /// the disk refuses. Unless the disk failed in the middle of a repair, nothing has been changed.
    pub fn open(
        disk: &mut dyn Disk,
        directory: &Path,
        options: WalOptions,
    ) -> Result<Recovered, WalError> {
        check_options(&options)?;
        let mut blocking = Blocking::new(disk, 0);
        let files = match list(&mut blocking, directory)? {
            Some(files) => files,
            None => {
                make_directory(&mut blocking, directory)?;
                Directory {
                    segments: Vec::new(),
                    spares: Vec::new(),
                }
            }
        };
        let mut found = Vec::new();
        let opened = open_all(&mut blocking, &files, options.identity, &mut found);
        let result = opened.and_then(|()| {
            recover(
                &mut blocking,
                directory,
                &options,
                &files.spares,
                &mut found,
            )
        });
        if result.is_err() {
            found.iter().for_each(|found| blocking.close(found.file));
        }
        result
    }
}

fn check_options(options: &WalOptions) -> Result<(), WalError> {
    let bytes = options.segment_bytes;
    let allowed = MINIMUM_SEGMENT_BYTES..=MAXIMUM_SEGMENT_BYTES;
    if !allowed.contains(&bytes) || !bytes.is_multiple_of(BLOCK_BYTES as u64) {
        return Err(WalError::BadOption(format!(
            "a segment length of {bytes} is not a multiple of {BLOCK_BYTES} from \
             {MINIMUM_SEGMENT_BYTES} to {MAXIMUM_SEGMENT_BYTES}"
        )));
    }
    Ok(())
}

/// The files of a log; `None` if the directory does not exist.
fn list(blocking: &mut Blocking<'_>, directory: &Path) -> Result<Option<Directory>, WalError> {
    let names = match blocking.run(Operation::List {
        path: directory.to_path_buf(),
    }) {
        Ok(Outcome::Listed(names)) => names,
        Ok(other) => unreachable!("a listing ends with {other:?}"),
        Err(DiskError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut files = Directory {
        segments: Vec::new(),
        spares: Vec::new(),
    };
    for entry in names {
        let path = directory.join(&entry.name);
        if let Some(id) = segment_id(&entry.name).filter(|_| !entry.is_directory) {
            files.segments.push((id, path));
        } else if entry.name.ends_with(SPARE_SUFFIX) {
            files.spares.push(path);
        } else if entry.name.ends_with(SEGMENT_SUFFIX) {
            return Err(WalError::Foreign { path });
        }
    }
    files.segments.sort();
    Ok(Some(files))
}

fn make_directory(blocking: &mut Blocking<'_>, directory: &Path) -> Result<(), WalError> {
    blocking.run(Operation::CreateDirectory {
        path: directory.to_path_buf(),
    })?;
    let parent = directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let path = parent.unwrap_or(Path::new(".")).to_path_buf();
    blocking.run(Operation::SyncDirectory { path })?;
    Ok(())
}

/// Opens all segments. Those opened are in `found`, whatever the result.
fn open_all(
    blocking: &mut Blocking<'_>,
    files: &Directory,
    expected: Identity,
    found: &mut Vec<Found>,
) -> Result<(), WalError> {
    for (id, path) in &files.segments {
        if let Some(before) = found.last().filter(|before: &&Found| before.id + 1 != *id) {
            let missing = segment_path(path.parent().unwrap_or(Path::new("")), before.id + 1);
            let what = format!("the segment is missing, while {} exists", path.display());
            return Err(WalError::Damaged(Damage {
                path: missing,
                offset: 0,
                what,
            }));
        }
        let (segment, identity) = open_segment(blocking, *id, path.clone())?;
        found.push(segment);
        if identity != expected {
            return Err(WalError::WrongIdentity {
                path: path.clone(),
                found: identity,
                expected,
            });
        }
    }
    Ok(())
}

/// Checks the segments found, repairs their end, and makes the log.
fn recover(
    blocking: &mut Blocking<'_>,
    directory: &Path,
    options: &WalOptions,
    spares: &[PathBuf],
    found: &mut Vec<Found>,
) -> Result<Recovered, WalError> {
    let first = found.first().map_or(1, |found| found.id);
    let mut scan = Scan::new(seed_of(options.identity), options.cache_bytes, first);
    let dirt = scan.run(blocking, found)?;
    let state_limit = segment_payload_bytes(options.segment_bytes) / 8;
    let (expected, sealed, last_index) = (scan.expected, scan.sealed, scan.last_index());
    let last_group = scan.last_group;
    let (log, segments, previous) = scan.into_log();
    if log.configuration.len().max(log.snapshot.data.len()) > state_limit {
        return Err(WalError::BadOption(format!(
            "segments of {} bytes are too short for this log's configuration or snapshot point",
            options.segment_bytes
        )));
    }

    // From here on the disk is changed.
    let mut notices = Vec::new();
    let mut preparation = Preparation::new(
        directory,
        options.identity,
        options.segment_bytes,
        token_of(options.owner, TOKEN_PREPARE, 0),
    );
    for path in spares {
        if !adopt_spare(blocking, path, options.segment_bytes, &mut preparation)? {
            blocking.run(Operation::Remove { path: path.clone() })?;
            notices.push(Notice::RemovedSpare { path: path.clone() });
        }
    }
    for dirt in &dirt {
        let segment = &found[dirt.at];
        clear(blocking, segment, *dirt)?;
        let (path, from, to) = (segment.path.clone(), dirt.from, dirt.to);
        notices.push(Notice::TornTail {
            path,
            from,
            to,
            group: expected,
            last_index,
        });
    }
    let created = expected == 1;
    if !created && !sealed {
        notices.push(Notice::NotSealed {
            group: expected - 1,
        });
    }
    let last_used = found.get(segments.len().wrapping_sub(1));
    confirm(blocking, last_used, last_group, seed_of(options.identity))?;
    let segments = settle(
        blocking,
        directory,
        found,
        segments,
        &mut preparation,
        options,
    )?;
    if let Some(current) = found.iter().find(|found| found.id == segments.current().id)
        && current.buffered
    {
        notices.push(Notice::Buffered {
            path: current.path.clone(),
        });
    }
    let parts = Parts {
        log,
        segments,
        preparation,
        expected,
        previous,
        sealed,
    };
    Ok(Recovered {
        wal: Wal::assemble(options, parts),
        created,
        notices,
    })
}

/// Keeps a spare file to be recycled; false if it is of no use.
fn adopt_spare(
    blocking: &mut Blocking<'_>,
    path: &Path,
    segment_bytes: u64,
    preparation: &mut Preparation,
) -> Result<bool, WalError> {
    if path.ends_with(SPARE_NAME) {
        return Ok(false); // half-made
    }
    let options = OpenOptions::read_write().direct();
    let opened = blocking.run(Operation::Open {
        path: path.to_path_buf(),
        options,
    })?;
    let Outcome::Opened { file, length, .. } = opened else {
        unreachable!("an open ends with a file")
    };
    let spare = Spare {
        path: path.to_path_buf(),
        file,
    };
    let rest = if length == segment_bytes {
        preparation.adopt_spare(spare)
    } else {
        Some(spare)
    };
    if rest.is_some() {
        blocking.close(file);
    }
    Ok(rest.is_none())
}

/// Overwrites the remains of a group that was never acknowledged, so that they are not found again.
fn clear(blocking: &mut Blocking<'_>, segment: &Found, dirt: Dirt) -> Result<(), WalError> {
    let mut offset = dirt.from;
    while offset < dirt.to {
        let length = (dirt.to - offset).min(CLEAR_BYTES);
        let buffer = AlignedBuffer::zeroed(length as usize);
        blocking.run(Operation::Write {
            file: segment.file,
            offset,
            buffer,
        })?;
        offset += length;
    }
    blocking.run(Operation::Sync { file: segment.file })?;
    Ok(())
}

/// Makes the last group durable. It may have been read from a volatile cache: the process that wrote it may have been
/// killed before its flush, or the flush has failed, and then a further one means nothing (Rebello et al., "Can
/// Applications Recover from fsync Failures?", ATC 2020). So the same bytes are written once more. All groups before it
/// were flushed before it was written.
fn confirm(
    blocking: &mut Blocking<'_>,
    last: Option<&Found>,
    (offset, bytes): (u64, u64),
    seed: u64,
) -> Result<(), WalError> {
    let Some(last) = last.filter(|_| bytes > 0) else {
        return Ok(());
    };
    let file = last.file;
    let mut buffer = AlignedBuffer::zeroed(bytes as usize);
    let mut reader = BlockReader::new(blocking, file, offset, offset + bytes);
    for copy in buffer.chunks_mut(BLOCK_BYTES) {
        match reader.next()? {
            Some(block) if BlockHeader::decode(block, seed).is_some() => {
                copy.copy_from_slice(block);
            }
            _ => {
                return Err(WalError::Damaged(Damage {
                    path: last.path.clone(),
                    offset,
                    what: "a group is read differently the second time".into(),
                }));
            }
        }
    }
    drop(reader);
    blocking.run(Operation::Write {
        file,
        offset,
        buffer,
    })?;
    blocking.run(Operation::Sync { file })?;
    Ok(())
}

/// Makes sure that there is a segment to write to, and that at most
/// one unused segment of the right length is behind it.
fn settle(
    blocking: &mut Blocking<'_>,
    directory: &Path,
    found: &mut Vec<Found>,
    mut segments: Segments,
    preparation: &mut Preparation,
    options: &WalOptions,
) -> Result<Segments, WalError> {
    let used = segments.len();
    let fits = |found: &Found| found.bytes == options.segment_bytes;
    let keep = if found.get(used).is_some_and(fits) {
        used + 1
    } else {
        used
    };
    while found.len() > keep {
        let Some(segment) = found.pop() else { break };
        blocking.close(segment.file);
        blocking.run(Operation::Remove { path: segment.path })?;
        blocking.run(Operation::SyncDirectory {
            path: directory.to_path_buf(),
        })?;
    }
    blocking.run(Operation::SyncDirectory {
        path: directory.to_path_buf(),
    })?;
    if let Some(unused) = found.get(used) {
        let Found {
            id,
            path,
            file,
            bytes,
            buffered,
        } = unused.clone();
        preparation.adopt(Prepared {
            id,
            path,
            file,
            bytes,
            buffered,
        });
    }
    if used == 0 {
        let Prepared {
            id,
            path,
            file,
            bytes,
            buffered,
        } = first_segment(blocking, preparation)?;
        segments.push(Segment::new(id, path.clone(), file, bytes));
        if found.is_empty() {
            found.push(Found {
                id,
                path,
                file,
                bytes,
                buffered,
            });
        }
    }
    Ok(segments)
}

/// The first segment of a new log.
fn first_segment(
    blocking: &mut Blocking<'_>,
    preparation: &mut Preparation,
) -> Result<Prepared, WalError> {
    if !preparation.is_ready() {
        preparation.provide(1, blocking.disk);
    }
    let mut completions = Vec::new();
    let mut refused = None;
    while preparation.is_busy() {
        blocking.disk.wait(&mut completions);
        for completion in completions.drain(..) {
            if let Err(error) = &completion.result
                && error.is_no_space()
            {
                refused.get_or_insert_with(|| error.clone());
            }
            let pace = Pace {
                flushing: false,
                filled: 0,
            };
            preparation.on_completion(completion, pace, blocking.disk)?;
        }
    }
    match (preparation.take_ready(), refused) {
        (Some(prepared), _) => Ok(prepared),
        (None, Some(error)) => Err(error.into()),
        (None, None) => unreachable!("making a segment ends with it or with an error"),
    }
}

/// What recovery has found, to be put together.
struct Parts {
    log: Log,
    segments: Segments,
    preparation: Preparation,
    expected: u64,
    previous: u64,
    sealed: bool,
}

impl Wal {
    /// Bytes of data that an entry of this log may have at most.
    #[must_use]
    pub fn largest_entry(&self) -> usize {
        self.entry_limit
    }

    fn assemble(options: &WalOptions, parts: Parts) -> Self {
        let Parts {
            log,
            segments,
            preparation,
            expected,
            previous,
            sealed,
        } = parts;
        let payload = segment_payload_bytes(options.segment_bytes);
        let durable = Mark::of(&log);
        Self {
            identity: options.identity,
            seed: seed_of(options.identity),
            owner: options.owner,
            cache_bytes: options.cache_bytes,
            entry_limit: largest_entry(options.segment_bytes),
            state_limit: payload / 8,
            written: log.head(),
            log,
            gathering: Gathering::new(expected, GROUP_BYTES.min(payload / 4)),
            in_flight: None,
            previous,
            durable_position: Position(expected - 1),
            durable,
            retire_below: durable.first_index,
            sealed,
            segments,
            preparation,
            reads: Reads::default(),
            pool: BufferPool::new(POOL_BYTES),
            poisoned: None,
            statistics: Statistics::default(),
        }
    }
}
