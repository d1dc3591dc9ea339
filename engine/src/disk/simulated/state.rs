//! The machine behind a simulated medium: operations submitted, performed, flushed.

mod durability;

use std::collections::BTreeMap;
use std::mem;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::contents::{Change, Contents, NameChange, Node};
use super::crash::Unflushed;
use super::fault::{Delay, Fault, Faultless, Host, Request, Verdict};
use crate::disk::{
    Action, AlignedBuffer, BLOCK_BYTES, Completion, DiskError, FileHandle, Operation, Outcome,
};

/// The due time of an operation that the host holds back.
const HELD: u64 = u64::MAX;

/// A program that uses the medium.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) alive: bool,
    files: BTreeMap<u32, OpenFile>,
    next_file: u32,
    pub(super) finished: Vec<Completion>,
    pub(super) outstanding: usize,
}

#[derive(Debug, Clone)]
struct OpenFile {
    inode: u64,
    path: PathBuf,
    write: bool,
    direct: bool,
}

/// An operation submitted and not yet performed.
#[derive(Debug)]
struct Pending {
    process: usize,
    token: u64,
    operation: Operation,
    target: Option<OpenFile>,
    fault: Option<Fault>,
}

/// All there is to a simulated medium.
pub(super) struct State {
    /// What programs see.
    pub(super) visible: Contents,
    /// What is left when power fails and every unflushed change is lost.
    pub(super) durable: Contents,
    pub(super) unflushed: Vec<Unflushed>,
    /// By due time, then by number.
    pending: BTreeMap<(u64, u64), Pending>,
    pub(super) processes: Vec<Process>,
    pub(super) host: Box<dyn Host>,
    pub(super) now: u64,
    pub(super) operations: u64,
    pub(super) capacity: u64,
    pub(super) powered: bool,
    pub(super) takes_direct: bool,
    next_inode: u64,
}

impl State {
    pub(super) fn new(contents: Contents) -> Self {
        let next_inode = contents
            .images
            .keys()
            .next_back()
            .map_or(1, |inode| inode + 1);
        Self {
            visible: contents.clone(),
            durable: contents,
            unflushed: Vec::new(),
            pending: BTreeMap::new(),
            processes: Vec::new(),
            host: Box::new(Faultless),
            now: 0,
            operations: 0,
            capacity: u64::MAX,
            powered: true,
            takes_direct: true,
            next_inode,
        }
    }

    pub(super) fn attach(&mut self) -> usize {
        self.processes.push(Process {
            alive: true,
            ..Process::default()
        });
        self.processes.len() - 1
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode - 1
    }

    /// Takes an operation: decides its fate, and notes what it may leave on the medium from now on.
    pub(super) fn submit(&mut self, process: usize, token: u64, operation: Operation) {
        self.processes[process].outstanding += 1;
        if !self.powered {
            let (action, path) = describe(&operation);
            let error = DiskError::from_errno(action, path, libc::EIO);
            return self.finish(process, token, Err(error), buffer_of(operation));
        }
        let target = match self.target(process, &operation) {
            Ok(target) => target,
            Err(error) => return self.finish(process, token, Err(error), buffer_of(operation)),
        };
        let number = self.operations;
        self.operations += 1;
        let verdict = self.decide(process, number, &operation, target.as_ref());
        let due = match verdict.delay {
            Delay::Nanoseconds(delay) => self.now.saturating_add(delay).min(HELD - 1),
            Delay::Held => HELD,
        };
        if let Some(change) = self.change_of(&operation, target.as_ref(), verdict.fault) {
            let orphaned = false;
            self.unflushed.push(Unflushed {
                number,
                change,
                completed: None,
                orphaned,
            });
        }
        let fault = verdict.fault;
        self.pending.insert(
            (due, number),
            Pending {
                process,
                token,
                operation,
                target,
                fault,
            },
        );
        if fault == Some(Fault::PowerLoss) {
            self.lose_power();
        }
    }

    fn target(&self, process: usize, operation: &Operation) -> Result<Option<OpenFile>, DiskError> {
        let (action, handle) = match operation {
            Operation::Read { file, .. } => (Action::Read, file),
            Operation::Write { file, .. } | Operation::WriteDurable { file, .. } => {
                (Action::Write, file)
            }
            Operation::Sync { file } => (Action::Sync, file),
            Operation::Allocate { file, .. } => (Action::Allocate, file),
            Operation::Truncate { file, .. } => (Action::Truncate, file),
            Operation::Close { file } => (Action::Close, file),
            _ => return Ok(None),
        };
        let open = self.processes[process].files.get(&handle.0).cloned();
        let open = open.ok_or(DiskError::NotOpen {
            action,
            handle: handle.0,
        })?;
        let refuse = |errno| Err(DiskError::from_errno(action, &open.path, errno));
        let writes = matches!(action, Action::Write | Action::Allocate | Action::Truncate);
        if writes && !open.write {
            return refuse(libc::EBADF);
        }
        let (offset, length) = extent(operation);
        let block = BLOCK_BYTES as u64;
        let moves = matches!(action, Action::Read | Action::Write);
        if moves && open.direct && !(offset.is_multiple_of(block) && length.is_multiple_of(block)) {
            return refuse(libc::EINVAL);
        }
        Ok(Some(open))
    }

    fn decide(
        &mut self,
        process: usize,
        number: u64,
        operation: &Operation,
        target: Option<&OpenFile>,
    ) -> Verdict {
        let (action, path) = describe(operation);
        let path = target.map_or(path, |open| open.path.as_path());
        let (offset, length) = extent(operation);
        let durable = matches!(operation, Operation::WriteDurable { .. });
        let process = process as u32;
        let request = Request {
            number,
            process,
            action,
            path,
            offset,
            length,
            durable,
        };
        let mut host = mem::replace(&mut self.host, Box::new(Faultless));
        let verdict = host.decide(&request);
        self.host = host;
        verdict
    }

    /// What the operation does to the medium, faults included.
    fn change_of(
        &mut self,
        operation: &Operation,
        target: Option<&OpenFile>,
        fault: Option<Fault>,
    ) -> Option<Change> {
        if matches!(fault, Some(Fault::NoSpace | Fault::LostWrite)) {
            return None;
        }
        let inode = target.map_or(0, |open| open.inode);
        Some(match operation {
            Operation::Write { offset, buffer, .. }
            | Operation::WriteDurable { offset, buffer, .. } => {
                let mut bytes: Rc<[u8]> = Rc::from(&buffer[..]);
                let mut offset = *offset;
                match fault {
                    Some(Fault::Misdirected { offset: other }) => offset = other,
                    Some(Fault::FlippedBit { bit }) => {
                        Rc::get_mut(&mut bytes)
                            .into_iter()
                            .for_each(|bytes| flip(bytes, bit));
                    }
                    _ => {}
                }
                Change::Write {
                    inode,
                    offset,
                    bytes,
                }
            }
            Operation::Allocate { offset, length, .. } => Change::Grow {
                inode,
                end: offset + length,
            },
            Operation::Truncate { length, .. } => Change::Length {
                inode,
                length: *length,
            },
            Operation::Open { path, options } => {
                let creates = options.create || options.create_new;
                if !creates || self.visible.names.contains_key(path) {
                    return None;
                }
                let inode = self.new_inode();
                Change::Name(NameChange::Create {
                    path: path.clone(),
                    inode,
                })
            }
            Operation::Rename { from, to } => Change::Name(NameChange::Rename {
                from: from.clone(),
                to: to.clone(),
            }),
            Operation::Remove { path } => Change::Name(NameChange::Remove { path: path.clone() }),
            Operation::CreateDirectory { path } => {
                Change::Name(NameChange::CreateDirectory { path: path.clone() })
            }
            _ => return None,
        })
    }

    /// The time at which the next operation is due, held ones aside.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.pending
            .keys()
            .map(|(due, _)| *due)
            .find(|due| *due != HELD)
    }

    /// Performs everything that is due.
    pub(super) fn run_due(&mut self) {
        while let Some((&(due, number), _)) = self.pending.first_key_value() {
            if due > self.now || due == HELD {
                return;
            }
            if let Some(pending) = self.pending.remove(&(due, number)) {
                self.perform(number, pending);
            }
        }
    }

    /// Makes held operations due now, in the order of their submission.
    pub(super) fn release(&mut self) {
        let held = self.pending.split_off(&(HELD, 0));
        self.pending.extend(
            held.into_iter()
                .map(|((_, number), op)| ((self.now, number), op)),
        );
    }

    fn perform(&mut self, number: u64, pending: Pending) {
        let Pending {
            process,
            token,
            mut operation,
            target,
            fault,
        } = pending;
        let result = match fault {
            Some(Fault::Error(errno)) => Err(self.fail(number, &operation, target.as_ref(), errno)),
            Some(Fault::NoSpace) => {
                let (action, path) = describe(&operation);
                let path = target
                    .as_ref()
                    .map_or(path, |open| &open.path)
                    .to_path_buf();
                Err(DiskError::NoSpace { action, path })
            }
            Some(Fault::LostWrite) if !matches!(operation, Operation::Read { .. }) => {
                Ok(match operation {
                    Operation::WriteDurable { .. } => Outcome::Durable,
                    _ => Outcome::Done,
                })
            }
            _ => self.succeed(process, number, &mut operation, target.as_ref(), fault),
        };
        self.finish(process, token, result, buffer_of(operation));
    }

    /// The operation as it should be.
    fn succeed(
        &mut self,
        process: usize,
        number: u64,
        operation: &mut Operation,
        target: Option<&OpenFile>,
        fault: Option<Fault>,
    ) -> Result<Outcome, DiskError> {
        let inode = target.map_or(0, |open| open.inode);
        match operation {
            Operation::Open { .. } => return self.open(process, number, operation),
            Operation::Close { file } => {
                self.processes[process].files.remove(&file.0);
                self.forget_unreachable();
            }
            Operation::Read { offset, buffer, .. } => {
                let length = match self.visible.images.get(&inode) {
                    Some(image) => image.read(*offset, buffer),
                    None => 0,
                };
                if let Some(Fault::FlippedBit { bit }) = fault {
                    flip(&mut buffer[..length], bit);
                }
                return Ok(Outcome::Read { length });
            }
            Operation::Sync { .. } => self.flush(inode, number),
            Operation::SyncDirectory { path } => {
                if self.visible.names.get(path) != Some(&Node::Directory) {
                    let action = Action::SyncDirectory;
                    return Err(DiskError::NotFound {
                        action,
                        path: path.clone(),
                    });
                }
                self.flush_names(path, number);
                self.forget_unreachable();
            }
            Operation::List { path } => return self.visible.list(path).map(Outcome::Listed),
            _ => {
                self.complete_change(number, operation, target)?;
                if matches!(operation, Operation::WriteDurable { .. }) {
                    self.flush(inode, number);
                    return Ok(Outcome::Durable);
                }
            }
        }
        Ok(Outcome::Done)
    }

    fn open(
        &mut self,
        process: usize,
        number: u64,
        operation: &Operation,
    ) -> Result<Outcome, DiskError> {
        let Operation::Open { path, options } = operation else {
            unreachable!("only for Open")
        };
        let refuse = |errno| Err(DiskError::from_errno(Action::Open, path, errno));
        if self.visible.names.contains_key(path) {
            self.drop_change(number);
            if options.create_new {
                return refuse(libc::EEXIST);
            }
        } else if options.create || options.create_new {
            self.complete_change(number, operation, None)?;
        }
        let inode = match self.visible.names.get(path) {
            Some(Node::File(inode)) => *inode,
            Some(Node::Directory) => return refuse(libc::EISDIR),
            None => return refuse(libc::ENOENT),
        };
        let direct = options.direct && self.takes_direct;
        let length = self.visible.images.entry(inode).or_default().length();
        let open = OpenFile {
            inode,
            path: path.clone(),
            write: options.write,
            direct,
        };
        let process = &mut self.processes[process];
        let file = FileHandle(process.next_file);
        process.next_file += 1;
        process.files.insert(file.0, open);
        Ok(Outcome::Opened {
            file,
            length,
            direct,
        })
    }

    /// Makes the change noted at submission visible, if it is possible now.
    fn complete_change(
        &mut self,
        number: u64,
        operation: &Operation,
        target: Option<&OpenFile>,
    ) -> Result<(), DiskError> {
        let Some(at) = self.unflushed.iter().position(|unit| unit.number == number) else {
            return Ok(());
        };
        let possible = match &self.unflushed[at].change {
            Change::Name(change) => self.visible.check(change),
            change => self.check_space(change, operation, target),
        };
        if let Err(error) = possible {
            self.unflushed.remove(at);
            return Err(error);
        }
        let unit = &mut self.unflushed[at];
        unit.completed = Some(self.operations);
        self.visible.apply(&unit.change);
        if let Change::Name(NameChange::Rename { from, to }) = &unit.change {
            let open = self
                .processes
                .iter_mut()
                .flat_map(|process| process.files.values_mut());
            open.filter(|file| file.path == *from)
                .for_each(|file| file.path.clone_from(to));
        }
        if matches!(unit.change, Change::Name(_)) {
            self.forget_unreachable();
        }
        Ok(())
    }

    fn check_space(
        &self,
        change: &Change,
        operation: &Operation,
        target: Option<&OpenFile>,
    ) -> Result<(), DiskError> {
        let (inode, end) = match change {
            Change::Write {
                inode,
                offset,
                bytes,
            } => (inode, offset + bytes.len() as u64),
            Change::Grow { inode, end } => (inode, *end),
            Change::Length { .. } | Change::Name(_) => return Ok(()),
        };
        let growth = match self.visible.images.get(inode) {
            Some(image) => image.allocated_with(end) - image.allocated(),
            None => end,
        };
        if self.visible.allocated().saturating_add(growth) <= self.capacity {
            return Ok(());
        }
        let path = target.map(|open| open.path.clone()).unwrap_or_default();
        Err(DiskError::NoSpace {
            action: describe(operation).0,
            path,
        })
    }

    fn drop_change(&mut self, number: u64) {
        self.unflushed.retain(|unit| unit.number != number);
    }

    /// Ends all that is under way with an error; what it would have done stays at risk.
    fn lose_power(&mut self) {
        self.powered = false;
        for (_, pending) in mem::take(&mut self.pending) {
            let (action, path) = describe(&pending.operation);
            let error = DiskError::from_errno(action, path, libc::EIO);
            self.finish(
                pending.process,
                pending.token,
                Err(error),
                buffer_of(pending.operation),
            );
        }
    }

    fn finish(
        &mut self,
        process: usize,
        token: u64,
        result: Result<Outcome, DiskError>,
        buffer: Option<AlignedBuffer>,
    ) {
        let process = &mut self.processes[process];
        if process.alive {
            process.finished.push(Completion {
                token,
                result,
                buffer,
            });
        }
    }

    /// The program is gone: the kernel finishes what it has begun, and tells nobody.
    pub(super) fn detach(&mut self, process: usize) {
        let process = &mut self.processes[process];
        process.alive = false;
        process.files.clear();
        process.finished.clear();
        self.forget_unreachable();
    }

    /// What is on the medium when every program is gone and `contents` has survived.
    pub(super) fn restart(&mut self, contents: Contents) {
        self.visible = contents.clone();
        self.durable = contents;
        self.unflushed.clear();
        self.pending.clear();
        for process in &mut self.processes {
            process.alive = false;
            process.files.clear();
            process.finished.clear();
        }
        self.powered = true;
        self.forget_unreachable();
    }
}

fn buffer_of(operation: Operation) -> Option<AlignedBuffer> {
    match operation {
        Operation::Read { buffer, .. }
        | Operation::Write { buffer, .. }
        | Operation::WriteDurable { buffer, .. } => Some(buffer),
        _ => None,
    }
}

fn extent(operation: &Operation) -> (u64, u64) {
    match operation {
        Operation::Read { offset, buffer, .. }
        | Operation::Write { offset, buffer, .. }
        | Operation::WriteDurable { offset, buffer, .. } => (*offset, buffer.len() as u64),
        Operation::Allocate { offset, length, .. } => (*offset, *length),
        Operation::Truncate { length, .. } => (0, *length),
        _ => (0, 0),
    }
}

/// The verb of an operation and the path it names, if it names one.
fn describe(operation: &Operation) -> (Action, &Path) {
    let none = Path::new("");
    match operation {
        Operation::Open { path, .. } => (Action::Open, path),
        Operation::Close { .. } => (Action::Close, none),
        Operation::Read { .. } => (Action::Read, none),
        Operation::Write { .. } | Operation::WriteDurable { .. } => (Action::Write, none),
        Operation::Sync { .. } => (Action::Sync, none),
        Operation::Allocate { .. } => (Action::Allocate, none),
        Operation::Truncate { .. } => (Action::Truncate, none),
        Operation::Rename { from, .. } => (Action::Rename, from),
        Operation::Remove { path } => (Action::Remove, path),
        Operation::SyncDirectory { path } => (Action::SyncDirectory, path),
        Operation::CreateDirectory { path } => (Action::CreateDirectory, path),
        Operation::List { path } => (Action::List, path),
    }
}

/// Inverts one bit.
pub(super) fn flip(bytes: &mut [u8], bit: u64) {
    if bytes.is_empty() {
        return;
    }
    let bit = bit % (bytes.len() as u64 * 8);
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
}
