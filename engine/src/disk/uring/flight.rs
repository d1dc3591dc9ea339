//! One operation on its way through the ring: which requests it makes of the kernel, one after the
//! other, and what their answers mean.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use super::transfer::{Direction, Progress, Request, Transfer, is_transient};
use crate::disk::{Action, AlignedBuffer, DiskError, OpenOptions, Outcome};

/// Permissions of files and directories made by the engine: for their owner alone.
const FILE_MODE: libc::mode_t = 0o600;
const DIRECTORY_MODE: libc::mode_t = 0o700;

/// A file in use. The descriptor stays open until the last flight that uses it has landed.
#[derive(Debug, Clone)]
pub(super) struct OpenFile {
    pub(super) descriptor: Arc<OwnedFd>,
    pub(super) path: Arc<Path>,
    pub(super) direct: bool,
}

impl OpenFile {
    fn fd(&self) -> types::Fd {
        types::Fd(self.descriptor.as_raw_fd())
    }
}

/// An operation and all memory that the kernel may touch while it is under way. It is boxed, so
/// that the memory stays where it is.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) token: u64,
    pub(super) task: Task,
    /// Answers to the requests of the present step, by part.
    pub(super) answers: [Option<i32>; 2],
    /// Requests of the present step that the kernel has not answered.
    pub(super) awaited: u8,
    /// The kernel took the write of the present step without the flush linked to it.
    pub(super) is_split: bool,
}

/// What the flight is for.
#[derive(Debug)]
pub(super) enum Task {
    Open(OpenTask),
    Close {
        fd: RawFd,
        path: Arc<Path>,
    },
    Transfer {
        file: OpenFile,
        transfer: Transfer,
    },
    Sync {
        file: OpenFile,
    },
    Allocate {
        file: OpenFile,
        offset: u64,
        length: u64,
    },
    Truncate {
        file: OpenFile,
        length: u64,
    },
    Rename {
        from: Arc<Path>,
        from_name: CString,
        to: Arc<Path>,
        to_name: CString,
    },
    Remove {
        path: Arc<Path>,
        name: CString,
    },
    CreateDirectory {
        path: Arc<Path>,
        name: CString,
    },
    SyncDirectory {
        path: Arc<Path>,
        name: CString,
        descriptor: Option<OwnedFd>,
    },
}

/// An open in three steps: with `O_DIRECT`, without it if refused, then the length.
#[derive(Debug)]
pub(super) struct OpenTask {
    pub(super) path: Arc<Path>,
    pub(super) name: CString,
    pub(super) options: OpenOptions,
    pub(super) direct: bool,
    pub(super) descriptor: Option<OwnedFd>,
    pub(super) status: Box<libc::statx>,
}

/// What follows from the answers to a step.
pub(super) enum Landing {
    /// The flight has another step.
    Again,
    /// It is over; an opened file is registered by the disk.
    Over(Result<Outcome, DiskError>),
    /// An open has succeeded.
    Opened { file: OpenFile, length: u64 },
}

impl OpenTask {
    pub(super) fn new(path: Arc<Path>, name: CString, options: OpenOptions) -> Self {
        // SAFETY: statx is a C struct of integers, for which all zeros is a value.
        let status = Box::new(unsafe { std::mem::zeroed::<libc::statx>() });
        Self {
            path,
            name,
            options,
            direct: options.direct,
            descriptor: None,
            status,
        }
    }

    fn entry(&mut self) -> Entry {
        if let Some(descriptor) = &self.descriptor {
            let status: *mut libc::statx = &mut *self.status;
            return opcode::Statx::new(
                types::Fd(descriptor.as_raw_fd()),
                c"".as_ptr(),
                status.cast::<types::statx>(),
            )
            .flags(libc::AT_EMPTY_PATH)
            .mask(libc::STATX_SIZE)
            .build();
        }
        let options = self.options;
        let mut flags = libc::O_CLOEXEC;
        flags |= if options.write {
            libc::O_RDWR
        } else {
            libc::O_RDONLY
        };
        if options.create || options.create_new {
            flags |= libc::O_CREAT;
        }
        // A file system that refuses O_DIRECT may have made the file before it refused, so the second
        // attempt must not insist on a new one. Had it existed before, the first would have said so.
        if options.create_new && self.direct == options.direct {
            flags |= libc::O_EXCL;
        }
        if self.direct {
            flags |= libc::O_DIRECT;
        }
        opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), self.name.as_ptr())
            .flags(flags)
            .mode(FILE_MODE)
            .build()
    }

    fn land(&mut self, answer: i32) -> Landing {
        if self.descriptor.is_none() && answer == -libc::EINVAL && self.direct {
            self.direct = false;
            return Landing::Again;
        }
        if answer < 0 {
            return Landing::Over(Err(DiskError::from_errno(
                Action::Open,
                &self.path,
                -answer,
            )));
        }
        let Some(descriptor) = self.descriptor.take() else {
            // SAFETY: the kernel has just given this descriptor to us, and nobody else has it.
            self.descriptor = Some(unsafe { OwnedFd::from_raw_fd(answer) });
            return Landing::Again;
        };
        let file = OpenFile {
            descriptor: Arc::new(descriptor),
            path: Arc::clone(&self.path),
            direct: self.direct,
        };
        Landing::Opened {
            file,
            length: self.status.stx_size,
        }
    }
}

impl Flight {
    pub(super) fn new(token: u64, task: Task) -> Box<Self> {
        Box::new(Self {
            token,
            task,
            answers: [None; 2],
            awaited: 0,
            is_split: false,
        })
    }

    /// The requests of the next step, each with its part: 0 moves bytes or does the one thing, 1
    /// flushes after part 0.
    pub(super) fn requests(&mut self) -> ([Option<Entry>; 2], u8) {
        self.answers = [None; 2];
        self.is_split = false;
        let entries = match &mut self.task {
            Task::Transfer { file, transfer } => transfer_entries(file, transfer),
            other => [Some(single_entry(other)), None],
        };
        self.awaited = entries.iter().flatten().count() as u8;
        (entries, self.awaited)
    }

    /// Called when all requests of the step are answered.
    pub(super) fn land(&mut self) -> Landing {
        if let Task::Transfer { file, transfer } = &mut self.task {
            return land_transfer(file, transfer, self.answers);
        }
        let [Some(answer), _] = self.answers else {
            unreachable!("a step lands when its request is answered")
        };
        match &mut self.task {
            // An interrupted close has closed the file all the same.
            Task::Close { .. } if is_transient(answer) => Landing::Over(Ok(Outcome::Done)),
            _ if is_transient(answer) => Landing::Again,
            Task::Open(open) => open.land(answer),
            Task::SyncDirectory { descriptor, .. } if answer >= 0 && descriptor.is_none() => {
                // SAFETY: the kernel has just given this descriptor to us, and nobody else has it.
                *descriptor = Some(unsafe { OwnedFd::from_raw_fd(answer) });
                Landing::Again
            }
            other => {
                let (action, path) = other.describe();
                Landing::Over(match answer {
                    0.. => Ok(Outcome::Done),
                    _ => Err(DiskError::from_errno(action, path, -answer)),
                })
            }
        }
    }

    /// The buffer, once the kernel has let go of it.
    pub(super) fn into_buffer(self) -> Option<AlignedBuffer> {
        match self.task {
            Task::Transfer { transfer, .. } => Some(transfer.buffer),
            _ => None,
        }
    }
}

impl Task {
    fn describe(&self) -> (Action, &Path) {
        match self {
            Self::Open(open) => (Action::Open, &open.path),
            Self::Close { path, .. } => (Action::Close, path),
            Self::Transfer { file, transfer } => match transfer.direction() {
                Direction::Read => (Action::Read, &file.path),
                Direction::Write | Direction::WriteDurable => (Action::Write, &file.path),
            },
            Self::Sync { file } => (Action::Sync, &file.path),
            Self::Allocate { file, .. } => (Action::Allocate, &file.path),
            Self::Truncate { file, .. } => (Action::Truncate, &file.path),
            Self::Rename { from, .. } => (Action::Rename, from),
            Self::Remove { path, .. } => (Action::Remove, path),
            Self::CreateDirectory { path, .. } => (Action::CreateDirectory, path),
            Self::SyncDirectory { path, .. } => (Action::SyncDirectory, path),
        }
    }

    /// The task of closing a file, unless flights still use it: then the last of them closes it.
    pub(super) fn close(file: OpenFile) -> Option<Self> {
        let path = file.path;
        let descriptor = Arc::try_unwrap(file.descriptor).ok()?;
        Some(Self::Close {
            fd: descriptor.into_raw_fd(),
            path,
        })
    }
}

fn land_transfer(file: &OpenFile, transfer: &mut Transfer, answers: [Option<i32>; 2]) -> Landing {
    match transfer.answer(answers[0], answers[1]) {
        Progress::Again => Landing::Again,
        Progress::Failed(action, errno) => {
            Landing::Over(Err(DiskError::from_errno(action, &file.path, errno)))
        }
        Progress::Done => Landing::Over(Ok(match transfer.direction() {
            Direction::Read => Outcome::Read {
                length: transfer.moved(),
            },
            Direction::Write => Outcome::Done,
            Direction::WriteDurable => {
                transfer.assert_durable();
                Outcome::Durable
            }
        })),
    }
}

fn transfer_entries(file: &OpenFile, transfer: &mut Transfer) -> [Option<Entry>; 2] {
    let Request { from, flush } = transfer.request();
    let flush = flush.then(|| sync_entry(file, types::FsyncFlags::DATASYNC));
    let moving = from.map(|from| {
        let length = transfer.buffer.len() - from;
        let length = u32::try_from(length).unwrap_or(1 << 30);
        let offset = transfer.offset + from as u64;
        let address = transfer.buffer.as_mut_pointer().wrapping_add(from);
        match transfer.direction() {
            Direction::Read => opcode::Read::new(file.fd(), address, length)
                .offset(offset)
                .build(),
            Direction::Write | Direction::WriteDurable => {
                opcode::Write::new(file.fd(), address, length)
                    .offset(offset)
                    .build()
            }
        }
    });
    match (moving, flush) {
        (Some(moving), Some(flush)) => [Some(moving.flags(Flags::IO_LINK)), Some(flush)],
        (moving, flush) => [moving, flush],
    }
}

fn sync_entry(file: &OpenFile, flags: types::FsyncFlags) -> Entry {
    opcode::Fsync::new(file.fd()).flags(flags).build()
}

fn single_entry(task: &mut Task) -> Entry {
    let here = types::Fd(libc::AT_FDCWD);
    match task {
        Task::Open(open) => open.entry(),
        Task::Close { fd, .. } => opcode::Close::new(types::Fd(*fd)).build(),
        Task::Transfer { .. } => unreachable!("a transfer makes its own requests"),
        Task::Sync { file } => sync_entry(file, types::FsyncFlags::DATASYNC),
        Task::Allocate {
            file,
            offset,
            length,
        } => opcode::Fallocate::new(file.fd(), *length)
            .offset(*offset)
            .build(),
        Task::Truncate { file, length } => opcode::Ftruncate::new(file.fd(), *length).build(),
        Task::Rename {
            from_name, to_name, ..
        } => opcode::RenameAt::new(here, from_name.as_ptr(), here, to_name.as_ptr()).build(),
        Task::Remove { name, .. } => opcode::UnlinkAt::new(here, name.as_ptr()).build(),
        Task::CreateDirectory { name, .. } => opcode::MkDirAt::new(here, name.as_ptr())
            .mode(DIRECTORY_MODE)
            .build(),
        Task::SyncDirectory {
            descriptor: Some(descriptor),
            ..
        } => opcode::Fsync::new(types::Fd(descriptor.as_raw_fd())).build(),
        Task::SyncDirectory {
            name,
            descriptor: None,
            ..
        } => opcode::OpenAt::new(here, name.as_ptr())
            .flags(libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC)
            .build(),
    }
}
