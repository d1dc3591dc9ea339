//! Reading a log from its first group to its last, and telling a torn end from damage. Nothing is
//! changed here.

use std::path::PathBuf;

use super::blocking::{BlockReader, Blocking};
use super::format::{BlockHeader, IdentityError, SegmentIdentity};
use super::group::{Assembler, Assembly, Group};
use super::log::Log;
use super::record::{Decoded, Head, Record, RecordError, Records};
use super::segments::{FIRST_GROUP, Segment, Segments};
use super::{Damage, Identity, WalError};
use crate::disk::{AlignedBuffer, BLOCK_BYTES, FileHandle, OpenOptions, Operation, Outcome};

/// A segment's file as found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: u64,
    pub(super) path: PathBuf,
    pub(super) file: FileHandle,
    pub(super) bytes: u64,
    pub(super) buffered: bool,
}

/// Where reading stopped, and why.
#[derive(Debug, Clone)]
struct Stop {
    /// Where the next group would begin.
    offset: u64,
    /// The block that is not what it should be.
    bad: u64,
    what: &'static str,
}

/// Bytes behind the last group that carry something unreadable or incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dirt {
    /// Which of the segments found.
    pub(super) at: usize,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// What a log says.
#[derive(Debug)]
pub(super) struct Scan {
    seed: u64,
    cache_bytes: usize,
    log: Option<Log>,
    pub(super) segments: Segments,
    /// The number of the next group; 0 as long as it is unknown.
    pub(super) expected: u64,
    /// The checksum of the last group, once known.
    previous: Option<u64>,
    /// The last group is a seal.
    pub(super) sealed: bool,
    /// Where the last group stands in the last segment that has one: offset and length in bytes.
    pub(super) last_group: (u64, u64),
}

/// Opens a segment's file and checks what it says about itself.
pub(super) fn open_segment(
    blocking: &mut Blocking<'_>,
    id: u64,
    path: PathBuf,
) -> Result<(Found, Identity), WalError> {
    let options = OpenOptions::read_write().direct();
    let opened = blocking.run(Operation::Open {
        path: path.clone(),
        options,
    })?;
    let Outcome::Opened {
        file,
        length,
        direct,
    } = opened
    else {
        unreachable!("an open ends with a file")
    };
    let found = Found {
        id,
        path,
        file,
        bytes: length,
        buffered: !direct,
    };
    match check_identity(blocking, &found) {
        Ok(identity) => Ok((found, identity)),
        Err(error) => {
            blocking.close(file);
            Err(error)
        }
    }
}

fn check_identity(blocking: &mut Blocking<'_>, found: &Found) -> Result<Identity, WalError> {
    let damaged = |offset, what: String| {
        Err(WalError::Damaged(Damage {
            path: found.path.clone(),
            offset,
            what,
        }))
    };
    if found.bytes < BLOCK_BYTES as u64 {
        return damaged(
            found.bytes,
            "the file ends within the segment's identity".into(),
        );
    }
    let mut reader = BlockReader::new(blocking, found.file, 0, BLOCK_BYTES as u64);
    let block = reader.next()?.map(AlignedBuffer::copy_of);
    drop(reader);
    let decoded = match block {
        Some(block) => SegmentIdentity::decode(&block),
        None => return damaged(0, "the file cannot be read to its end".into()),
    };
    let identity = match decoded {
        Ok(identity) => identity,
        Err(IdentityError::Damaged(what)) => return damaged(0, what.into()),
        Err(IdentityError::Newer(what)) => {
            return Err(WalError::Newer {
                path: found.path.clone(),
                what,
            });
        }
    };
    if identity.segment != found.id {
        let what = format!("the file holds segment {:016x}", identity.segment);
        return damaged(0, what);
    }
    if identity.segment_bytes != found.bytes {
        let (is, should) = (found.bytes, identity.segment_bytes);
        return damaged(
            is.min(should),
            format!("the file has {is} bytes instead of {should}"),
        );
    }
    Ok(identity.identity)
}

impl Scan {
    pub(super) fn new(seed: u64, cache_bytes: usize, first: u64) -> Self {
        let fresh = first == 1;
        Self {
            seed,
            cache_bytes,
            log: fresh.then(|| Log::from_head(&Head::default())),
            segments: Segments::default(),
            expected: u64::from(fresh),
            previous: fresh.then_some(0),
            sealed: false,
            last_group: (FIRST_GROUP, 0),
        }
    }

    /// The log, and the checksum of its last group.
    pub(super) fn into_log(self) -> (Log, Segments, u64) {
        let log = self.log.unwrap_or_else(|| Log::from_head(&Head::default()));
        (log, self.segments, self.previous.unwrap_or(0))
    }

    pub(super) fn last_index(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::last_index)
    }

    /// Reads all groups. Returns the unreadable ranges behind the last one; the segments behind those
    /// in `self.segments` hold no group.
    pub(super) fn run(
        &mut self,
        blocking: &mut Blocking<'_>,
        found: &[Found],
    ) -> Result<Vec<Dirt>, WalError> {
        let mut stop = None;
        let mut refused = None;
        for (at, file) in found.iter().enumerate() {
            let groups_before = self.expected;
            let here = self.segment(blocking, file)?;
            if self.expected == groups_before && at > 0 {
                refused = Some((at, here));
                break;
            }
            if self.expected == 0 {
                // Older segments are put away only when this one's first group is durable.
                let what = format!("{}; it begins the oldest segment there is", here.what);
                return Err(damaged(file, here.bad, what));
            }
            stop = Some((at, here));
        }
        let Some((at, stop)) = stop else {
            return Ok(Vec::new());
        };
        self.tail(blocking, found, (at, stop), refused)
    }

    /// Reads the groups of one segment.
    fn segment(&mut self, blocking: &mut Blocking<'_>, found: &Found) -> Result<Stop, WalError> {
        let mut reader = BlockReader::new(blocking, found.file, FIRST_GROUP, found.bytes);
        let mut offset = FIRST_GROUP;
        loop {
            let mut assembler = Assembler::new(self.seed, found.id, self.expected);
            let group = loop {
                let bad = offset + u64::from(assembler.taken()) * BLOCK_BYTES as u64;
                let Some(block) = reader.next()? else {
                    return Ok(Stop {
                        offset,
                        bad,
                        what: "the segment ends within a group",
                    });
                };
                match assembler.push(block) {
                    Assembly::More => {}
                    Assembly::Complete(group) => break group,
                    Assembly::Broken(what) => return Ok(Stop { offset, bad, what }),
                }
            };
            let bytes = u64::from(group.blocks) * BLOCK_BYTES as u64;
            self.accept(found, offset, group)?;
            offset += bytes;
        }
    }

    /// Takes an intact group. Whatever is wrong with it now is no tear: it was written so.
    fn accept(&mut self, found: &Found, offset: u64, group: Group) -> Result<(), WalError> {
        let bad = |what: &str| {
            Err(damaged(
                found,
                offset,
                format!("group {}: {what}", group.number),
            ))
        };
        if self
            .previous
            .is_some_and(|previous| previous != group.previous)
        {
            return bad("it does not continue the group before it");
        }
        let begins = offset == FIRST_GROUP;
        if begins {
            let (path, file) = (found.path.clone(), found.file);
            self.segments
                .push(Segment::new(found.id, path, file, found.bytes));
        }
        let (mut min, mut max) = (0, 0);
        self.sealed = false;
        for (position, record) in Records::new(group.records.clone()).enumerate() {
            let decoded = match record {
                Ok(decoded) => decoded,
                Err(RecordError::Malformed { at, what }) => {
                    return bad(&format!("{what}, {at} bytes into its records"));
                }
                Err(RecordError::Unknown { kind }) => {
                    let what = format!("group {} has a record of kind {kind}", group.number);
                    return Err(WalError::Newer {
                        path: found.path.clone(),
                        what,
                    });
                }
            };
            match (decoded, &mut self.log) {
                (Decoded::Head(head), log) if begins && position == 0 => match log {
                    Some(log) if log.head() != head => {
                        return bad("its head contradicts the segments before it");
                    }
                    Some(_) => {}
                    None => *log = Some(Log::from_head(&head)),
                },
                (Decoded::Record { record, resets }, Some(log)) if position > 0 || !begins => {
                    if let Record::Entry(entry) = &record {
                        min = if min == 0 {
                            entry.index
                        } else {
                            entry.index.min(min)
                        };
                        max = entry.index.max(max);
                    }
                    if !log.replay(record, resets) {
                        return bad("an entry does not connect to the log");
                    }
                }
                (Decoded::Seal { last_group }, Some(_)) if last_group + 1 == group.number => {
                    self.sealed = true;
                }
                _ => return bad("a head or seal is not where it belongs"),
            }
        }
        if begins && self.log.is_none() {
            return bad("a segment begins without a head");
        }
        let bytes = u64::from(group.blocks) * BLOCK_BYTES as u64;
        self.segments.note_group(group.number, min, max, bytes);
        self.last_group = (offset, bytes);
        self.expected = group.number + 1;
        self.previous = Some(group.checksum);
        if let Some(log) = &mut self.log {
            log.evict(self.cache_bytes, log.last_index());
        }
        Ok(())
    }

    /// Looks at everything behind the last group. One intact block of a group later than the next
    /// proves that the next had been flushed, so that it is damaged and not torn.
    fn tail(
        &self,
        blocking: &mut Blocking<'_>,
        found: &[Found],
        (last, stop): (usize, Stop),
        refused: Option<(usize, Stop)>,
    ) -> Result<Vec<Dirt>, WalError> {
        let mut dirt: Vec<Dirt> = Vec::new();
        for (at, file) in found.iter().enumerate().skip(last) {
            let start = if at == last { stop.offset } else { FIRST_GROUP };
            let mut reader = BlockReader::new(blocking, file.file, start, file.bytes);
            let mut offset = start;
            while let Some(block) = reader.next()? {
                match self.judge(block, file.id) {
                    Trace::None => {}
                    Trace::Later(group) => {
                        // The group is where the first trace of it is: if this segment's rest was
                        // never written, at the beginning of the next.
                        let clean = !dirt.iter().any(|dirt| dirt.at == last);
                        let begun = refused.filter(|_| at > last && clean);
                        let (at_fault, fault) = begun.unwrap_or((last, stop));
                        let what = format!(
                            "group {}: {}; but a block of the later group {group} is intact at byte \
                             {offset} of {}",
                            self.expected,
                            fault.what,
                            file.path.display()
                        );
                        return Err(damaged(&found[at_fault], fault.bad, what));
                    }
                    Trace::Dirt => {
                        let to = offset + BLOCK_BYTES as u64;
                        match dirt.last_mut().filter(|dirt| dirt.at == at) {
                            Some(dirt) => dirt.to = to,
                            None => dirt.push(Dirt {
                                at,
                                from: offset,
                                to,
                            }),
                        }
                    }
                }
                offset += BLOCK_BYTES as u64;
            }
        }
        Ok(dirt)
    }

    fn judge(&self, block: &[u8], segment: u64) -> Trace {
        if block.iter().all(|byte| *byte == 0) {
            return Trace::None;
        }
        match BlockHeader::decode(block, self.seed) {
            Some(header) if header.group > self.expected => Trace::Later(header.group),
            // Left by the segment that this file was before it was recycled.
            Some(header) if header.segment < segment => Trace::None,
            Some(_) | None => Trace::Dirt,
        }
    }
}

/// What a block behind the last group tells.
enum Trace {
    /// Nothing was written here.
    None,
    /// Something of the next group, or unreadable.
    Dirt,
    /// A block of a later group.
    Later(u64),
}

fn damaged(found: &Found, offset: u64, what: String) -> WalError {
    WalError::Damaged(Damage {
        path: found.path.clone(),
        offset,
        what,
    })
}
