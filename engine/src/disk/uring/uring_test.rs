//! The io_uring adapter against real files.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::*;
use crate::disk::{AlignedBuffer, BLOCK_BYTES, OpenOptions};

/// Runs one operation to its end.
fn run(disk: &mut UringDisk, operation: Operation) -> Completion {
    disk.submit(7, operation);
    let mut completions = Vec::new();
    disk.wait(&mut completions);
    assert_eq!(completions.len(), 1);
    let completion = completions.pop().unwrap();
    assert_eq!(completion.token, 7);
    completion
}

fn succeed(disk: &mut UringDisk, operation: Operation) -> Outcome {
    run(disk, operation).result.unwrap()
}

fn open(disk: &mut UringDisk, path: &Path, options: OpenOptions) -> (FileHandle, u64, bool) {
    match succeed(
        disk,
        Operation::Open {
            path: path.into(),
            options,
        },
    ) {
        Outcome::Opened {
            file,
            length,
            direct,
        } => (file, length, direct),
        other => panic!("{other:?}"),
    }
}

fn setup() -> (UringDisk, tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    (UringDisk::new().unwrap(), directory, path)
}

fn pattern(length: usize, seed: u8) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(length);
    buffer
        .iter_mut()
        .enumerate()
        .for_each(|(i, byte)| *byte = (i as u8).wrapping_mul(seed));
    buffer
}

#[test]
fn durable_direct_writes_are_read_back() {
    let (mut disk, _directory, path) = setup();
    let options = OpenOptions::read_write().create_new().direct();
    let (file, length, _) = open(&mut disk, &path, options);
    assert_eq!(length, 0);
    succeed(
        &mut disk,
        Operation::Allocate {
            file,
            offset: 0,
            length: 65536,
        },
    );
    let buffer = pattern(3 * BLOCK_BYTES, 31);
    let completion = run(
        &mut disk,
        Operation::WriteDurable {
            file,
            offset: 4096,
            buffer,
        },
    );
    assert_eq!(completion.result, Ok(Outcome::Durable));
    let written = completion.buffer.unwrap();
    let buffer = AlignedBuffer::zeroed(65536);
    let completion = run(
        &mut disk,
        Operation::Read {
            file,
            offset: 0,
            buffer,
        },
    );
    assert_eq!(completion.result, Ok(Outcome::Read { length: 65536 }));
    let read = completion.buffer.unwrap();
    assert_eq!(&read[4096..4096 + written.len()], &written[..]);
    assert!(read[..4096].iter().all(|byte| *byte == 0));
    succeed(&mut disk, Operation::Close { file });
    assert_eq!(open(&mut disk, &path, OpenOptions::default()).1, 65536);
}

#[test]
fn buffered_files_take_any_length_and_short_reads_say_so() {
    let (mut disk, _directory, path) = setup();
    let (file, ..) = open(&mut disk, &path, OpenOptions::read_write().create());
    succeed(
        &mut disk,
        Operation::Write {
            file,
            offset: 3,
            buffer: pattern(1000, 7),
        },
    );
    succeed(&mut disk, Operation::Sync { file });
    let read = Operation::Read {
        file,
        offset: 0,
        buffer: AlignedBuffer::zeroed(8192),
    };
    assert_eq!(succeed(&mut disk, read), Outcome::Read { length: 1003 });
    let read = Operation::Read {
        file,
        offset: 5000,
        buffer: AlignedBuffer::zeroed(10),
    };
    assert_eq!(succeed(&mut disk, read), Outcome::Read { length: 0 });
    succeed(&mut disk, Operation::Truncate { file, length: 10 });
    let read = Operation::Read {
        file,
        offset: 0,
        buffer: AlignedBuffer::zeroed(8192),
    };
    assert_eq!(succeed(&mut disk, read), Outcome::Read { length: 10 });
    let empty = Operation::Write {
        file,
        offset: 0,
        buffer: AlignedBuffer::zeroed(0),
    };
    assert_eq!(succeed(&mut disk, empty), Outcome::Done);
    let empty = Operation::WriteDurable {
        file,
        offset: 0,
        buffer: AlignedBuffer::zeroed(0),
    };
    assert_eq!(succeed(&mut disk, empty), Outcome::Durable);
}

#[test]
fn names_are_made_changed_listed_and_removed() {
    let (mut disk, directory, path) = setup();
    let sub = directory.path().join("sub");
    succeed(&mut disk, Operation::CreateDirectory { path: sub.clone() });
    let (file, ..) = open(&mut disk, &path, OpenOptions::read_write().create_new());
    succeed(&mut disk, Operation::Close { file });
    let moved = sub.join("moved");
    succeed(
        &mut disk,
        Operation::Rename {
            from: path.clone(),
            to: moved.clone(),
        },
    );
    succeed(&mut disk, Operation::SyncDirectory { path: sub.clone() });
    let listed = |names: &[(&str, bool)]| {
        let entry = |(name, is_directory): &(&str, bool)| DirectoryEntry {
            name: (*name).into(),
            is_directory: *is_directory,
        };
        Outcome::Listed(names.iter().map(entry).collect())
    };
    let list = Operation::List {
        path: directory.path().into(),
    };
    assert_eq!(succeed(&mut disk, list), listed(&[("sub", true)]));
    let list = || Operation::List { path: sub.clone() };
    assert_eq!(succeed(&mut disk, list()), listed(&[("moved", false)]));
    succeed(&mut disk, Operation::Remove { path: moved });
    assert_eq!(succeed(&mut disk, list()), listed(&[]));
}

#[test]
fn errors_name_the_file_and_the_cause() {
    let (mut disk, directory, path) = setup();
    let missing = Operation::Open {
        path: path.clone(),
        options: OpenOptions::default(),
    };
    let error = run(&mut disk, missing).result.unwrap_err();
    assert_eq!(
        error,
        DiskError::NotFound {
            action: Action::Open,
            path: path.clone()
        }
    );
    std::fs::write(&path, b"x").unwrap();
    let options = OpenOptions::read_write().create_new().direct();
    let error = run(
        &mut disk,
        Operation::Open {
            path: path.clone(),
            options,
        },
    )
    .result
    .unwrap_err();
    assert_eq!(
        error,
        DiskError::AlreadyExists {
            action: Action::Open,
            path: path.clone()
        }
    );
    let mut zero = directory.path().as_os_str().to_owned();
    zero.push("/a\0b");
    let remove = Operation::Remove { path: zero.into() };
    assert!(matches!(
        run(&mut disk, remove).result,
        Err(DiskError::BadPath { .. })
    ));
    let closed = FileHandle(99);
    let write = Operation::Write {
        file: closed,
        offset: 0,
        buffer: AlignedBuffer::zeroed(1),
    };
    let completion = run(&mut disk, write);
    assert!(matches!(
        completion.result,
        Err(DiskError::NotOpen { handle: 99, .. })
    ));
    assert!(
        completion.buffer.is_some(),
        "the buffer comes back in every case"
    );
}

#[test]
fn a_full_device_is_reported_as_such() {
    let mut disk = UringDisk::new().unwrap();
    let (file, ..) = open(&mut disk, Path::new("/dev/full"), OpenOptions::read_write());
    let write = Operation::Write {
        file,
        offset: 0,
        buffer: AlignedBuffer::zeroed(10),
    };
    assert!(run(&mut disk, write).result.unwrap_err().is_no_space());
}

#[test]
fn a_file_system_without_direct_access_is_used_through_the_cache() {
    let mut disk = UringDisk::new().unwrap();
    let options = OpenOptions::default().direct();
    let (file, _, direct) = open(&mut disk, Path::new("/proc/version"), options);
    assert!(!direct, "procfs refuses O_DIRECT");
    let read = Operation::Read {
        file,
        offset: 0,
        buffer: AlignedBuffer::zeroed(100),
    };
    assert!(matches!(
        succeed(&mut disk, read),
        Outcome::Read { length: 1.. }
    ));
}

#[test]
fn far_more_operations_than_the_ring_holds_all_complete() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = UringDisk::with_entries(2).unwrap();
    let path = directory.path().join("file");
    let (file, ..) = open(
        &mut disk,
        &path,
        OpenOptions::read_write().create_new().direct(),
    );
    const COUNT: u64 = 300;
    for token in 0..COUNT {
        let buffer = pattern(BLOCK_BYTES, token as u8);
        let offset = token * BLOCK_BYTES as u64;
        let operation = match token % 10 {
            0 => Operation::WriteDurable {
                file,
                offset,
                buffer,
            },
            _ => Operation::Write {
                file,
                offset,
                buffer,
            },
        };
        disk.submit(token, operation);
    }
    let mut completions = Vec::new();
    while disk.outstanding() > 0 {
        disk.wait(&mut completions);
    }
    let mut tokens: Vec<u64> = completions
        .iter()
        .map(|completion| completion.token)
        .collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..COUNT).collect::<Vec<_>>());
    assert!(
        completions
            .iter()
            .all(|completion| completion.result.is_ok())
    );
    let bytes = std::fs::read(&path).unwrap();
    for token in 0..COUNT as usize {
        let at = token * BLOCK_BYTES;
        assert_eq!(
            bytes[at..at + BLOCK_BYTES],
            pattern(BLOCK_BYTES, token as u8)[..],
            "{token}"
        );
    }
}

#[test]
fn the_descriptor_becomes_readable_with_a_completion() {
    let (mut disk, _directory, path) = setup();
    let (file, ..) = open(&mut disk, &path, OpenOptions::read_write().create_new());
    let readable = |disk: &UringDisk, timeout| {
        let mut poll = libc::pollfd {
            fd: disk.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd, and a count of one.
        unsafe { libc::poll(&mut poll, 1, timeout) == 1 }
    };
    assert!(!readable(&disk, 0));
    let buffer = pattern(BLOCK_BYTES, 3);
    disk.submit(
        1,
        Operation::WriteDurable {
            file,
            offset: 0,
            buffer,
        },
    );
    let mut completions = Vec::new();
    while completions.is_empty() {
        assert!(readable(&disk, 10_000), "no completion within ten seconds");
        disk.reap(&mut completions);
    }
    assert_eq!(completions[0].result, Ok(Outcome::Durable));
}

#[test]
fn a_disk_dropped_with_operations_in_flight_waits_for_them() {
    let (mut disk, _directory, path) = setup();
    let (file, ..) = open(&mut disk, &path, OpenOptions::read_write().create_new());
    for token in 0..50 {
        let buffer = pattern(16 * BLOCK_BYTES, 5);
        disk.submit(
            token,
            Operation::Write {
                file,
                offset: token << 16,
                buffer,
            },
        );
    }
    drop(disk);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 50 << 16);
}

#[test]
fn closing_a_file_in_use_lets_the_operation_finish() {
    let (mut disk, _directory, path) = setup();
    let (file, ..) = open(&mut disk, &path, OpenOptions::read_write().create_new());
    disk.submit(
        1,
        Operation::WriteDurable {
            file,
            offset: 0,
            buffer: pattern(1 << 20, 9),
        },
    );
    disk.submit(2, Operation::Close { file });
    let mut completions = Vec::new();
    while disk.outstanding() > 0 {
        disk.wait(&mut completions);
    }
    assert!(
        completions
            .iter()
            .all(|completion| completion.result.is_ok()),
        "{completions:?}"
    );
    let sync = run(&mut disk, Operation::Sync { file });
    assert!(matches!(sync.result, Err(DiskError::NotOpen { .. })));
}

/// Installs, for the calling thread alone, a seccomp filter under which `io_uring_setup` gives
/// `errno`, as a container's profile does.
fn forbid_io_uring(errno: i32) {
    let refuse = libc::SECCOMP_RET_ERRNO | errno as u32;
    let code = |code: u32| code as u16;
    let filter = [
        libc::sock_filter {
            code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS),
            jt: 0,
            jf: 0,
            k: 0,
        },
        libc::sock_filter {
            code: code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            jt: 0,
            jf: 1,
            k: libc::SYS_io_uring_setup as u32,
        },
        libc::sock_filter {
            code: code(libc::BPF_RET | libc::BPF_K),
            jt: 0,
            jf: 0,
            k: refuse,
        },
        libc::sock_filter {
            code: code(libc::BPF_RET | libc::BPF_K),
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        },
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the first call takes plain numbers; the second a program that outlives the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0
        );
    }
}

#[test]
fn a_container_without_io_uring_gets_a_message_with_the_remedy() {
    for (errno, text) in [(libc::EPERM, "forbidden"), (libc::ENOSYS, "not available")] {
        let refused = std::thread::spawn(move || {
            forbid_io_uring(errno);
            UringDisk::new().unwrap_err().to_string()
        });
        let message = refused.join().unwrap();
        assert!(
            message.contains(text) && message.contains("seccomp"),
            "{message}"
        );
    }
}
