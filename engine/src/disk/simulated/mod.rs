//! A disk in memory whose time, faults and crashes are decided by whoever runs it.
//!
//! A [`SimulatedMedium`] is the machine's disk: it outlives the programs that use it. A
//! [`SimulatedDisk`] is one program's access to it; dropping it is what `kill -9` does: files are
//! closed, what the kernel has begun is finished, and what was visible stays visible.
//!
//! # The fault model
//!
//! - A write, creation, rename, removal, truncation or reservation is *at risk* from the moment it is
//!   submitted until a flush that was submitted after its completion has succeeded: `Sync` or
//!   `WriteDurable` of the file for its bytes and length, `SyncDirectory` for names.
//! - When power fails, each change at risk is kept or lost, whatever becomes of the others, and a
//!   write may be torn: any subset of its 512-byte sectors is kept. Changes of names are kept or lost
//!   as a whole; one that has lost what it builds on does nothing.
//! - [`Host`] may let any operation fail, fill the disk, lose or misdirect a write, flip a bit, or cut
//!   the power; see [`Fault`]. [`SimulatedMedium::set_capacity`] makes a disk that fills up.
//! - An operation is performed when its delay is over, in simulated nanoseconds. Nothing happens by
//!   itself: the simulator moves the clock ([`SimulatedMedium::advance_to`]), and a program that blocks
//!   in [`Disk::wait`] moves it to the next operation that is due.
//!
//! The idea of enumerating what a crash can leave is that of ALICE (Pillai et al., "All File Systems
//! Are Not Created Equal", OSDI 2014) and CrashMonkey (Mohan et al., OSDI 2018).

mod contents;
mod crash;
mod fault;
mod image;
#[cfg(test)]
mod simulated_test;
mod state;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use self::contents::{Change, Contents, NameChange, Node};
use self::crash::{Chance, Unflushed, plans, survive};
use self::state::{State, flip};
use super::{Completion, Disk, Operation};

pub use contents::SECTOR_BYTES;
pub use crash::{AtRisk, Fate};
pub use fault::{Delay, FailNth, Fault, Faultless, Host, Request, Verdict};

/// A simulated machine's disk. Clones are the same disk; [`SimulatedMedium::copy`] makes another.
#[derive(Clone)]
pub struct SimulatedMedium {
    state: Rc<RefCell<State>>,
}

impl Default for SimulatedMedium {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedMedium {
    /// An empty disk: the root directory and nothing else, no faults, no delays, no limit.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Contents::new())
    }

    fn with(contents: Contents) -> Self {
        Self {
            state: Rc::new(RefCell::new(State::new(contents))),
        }
    }

    /// A program's access to this disk.
    #[must_use]
    pub fn attach(&self) -> SimulatedDisk {
        let process = self.state.borrow_mut().attach();
        SimulatedDisk {
            state: Rc::clone(&self.state),
            process,
        }
    }

    /// Who decides about operations from now on. The host is called while the medium is in use: it
    /// must not call the medium.
    pub fn set_host(&self, host: impl Host + 'static) {
        self.state.borrow_mut().host = Box::new(host);
    }

    /// Bytes that fit on the disk. A file takes whole 4 KiB pages up to its furthest byte written or
    /// reserved.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.borrow_mut().capacity = bytes;
    }

    /// Bytes taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state.borrow().visible.allocated()
    }

    /// Makes this a file system that refuses direct I/O.
    pub fn refuse_direct(&self) {
        self.state.borrow_mut().takes_direct = false;
    }

    /// The simulated time in nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.state.borrow().now
    }

    /// Moves the clock forward (never back) and performs what is due by then, in the order of the due
    /// times.
    pub fn advance_to(&self, time: u64) {
        let mut state = self.state.borrow_mut();
        while let Some(due) = state.next_due().filter(|due| *due <= time) {
            state.now = state.now.max(due);
            state.run_due();
        }
        state.now = state.now.max(time);
    }

    /// When the next operation is due, if any is under way that is not held.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.state.borrow().next_due()
    }

    /// Lets go of all operations that the host holds: they are due now.
    pub fn release(&self) {
        self.state.borrow_mut().release();
    }

    /// Operations submitted so far; also the number that the next one will have.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.borrow().operations
    }

    /// Changes that a loss of power could undo now.
    #[must_use]
    pub fn at_risk(&self) -> usize {
        self.state.borrow().unflushed.len()
    }

    /// Cuts the power, with the fate of each change at risk decided by `decide`, and switches it on
    /// again. Every program's access is dead from then on: drop it.
    pub fn lose_power(&self, mut decide: impl FnMut(AtRisk<'_>) -> Fate) {
        let mut state = self.state.borrow_mut();
        let fates: Vec<Fate> = state
            .unflushed
            .iter()
            .map(|unit: &Unflushed| decide(unit.at_risk()))
            .collect();
        let contents = survive(&state.durable, &state.unflushed, &fates);
        state.restart(contents);
    }

    /// The same with fates drawn from a seed: each change is kept, lost, or torn at random.
    pub fn lose_power_by_chance(&self, seed: u64) {
        let mut chance = Chance::new(seed);
        self.lose_power(|unit| chance.fate(unit));
    }

    /// What a loss of power at this moment could leave: every subset of up to six changes at risk, or
    /// else all, none, and each one lost or kept alone; and each write torn in several ways. At most
    /// `limit`, evenly chosen among all. Each is a disk of its own, without faults.
    #[must_use]
    pub fn crash_images(&self, limit: usize) -> Vec<SimulatedMedium> {
        let state = self.state.borrow();
        let plans = plans(&state.unflushed, limit);
        plans
            .iter()
            .map(|fates| Self::with(survive(&state.durable, &state.unflushed, fates)))
            .collect()
    }

    /// Another disk with what is visible now, all of it durable, without faults.
    #[must_use]
    pub fn copy(&self) -> SimulatedMedium {
        Self::with(self.state.borrow().visible.clone())
    }

    /// The visible bytes of a file.
    #[must_use]
    pub fn read_file(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        let image = state.visible.images.get(&state.visible.inode(path)?)?;
        let mut bytes = vec![0; image.length() as usize];
        image.read(0, &mut bytes);
        Some(bytes)
    }

    /// Fills `into` with visible bytes of a file; `None` if it does not exist, else the count.
    #[must_use]
    pub fn read_at(&self, path: &Path, offset: u64, into: &mut [u8]) -> Option<usize> {
        let state = self.state.borrow();
        let image = state.visible.images.get(&state.visible.inode(path)?)?;
        Some(image.read(offset, into))
    }

    /// A number that stays with a file when its name changes; `None` if there is no such file.
    #[must_use]
    pub fn file_number(&self, path: &Path) -> Option<u64> {
        self.state.borrow().visible.inode(path)
    }

    /// Fills `into` with visible bytes of the file of this number, whatever its name is by now; `None` if nothing is
    /// left of it, else the count.
    #[must_use]
    pub fn read_numbered(&self, number: u64, offset: u64, into: &mut [u8]) -> Option<usize> {
        let state = self.state.borrow();
        let image = state.visible.images.get(&number)?;
        Some(image.read(offset, into))
    }

    /// Puts a file on the disk, durably, in place of any that has the name. Directories on the way to
    /// it are made.
    pub fn write_file(&self, path: &Path, bytes: &[u8]) {
        self.make_directory(path.parent().unwrap_or(Path::new("/")));
        let mut state = self.state.borrow_mut();
        let inode = state.new_inode();
        let create = Change::Name(NameChange::Create {
            path: path.to_path_buf(),
            inode,
        });
        let write = Change::Write {
            inode,
            offset: 0,
            bytes: Rc::from(bytes),
        };
        for change in [create, write] {
            state.visible.apply(&change);
            state.durable.apply(&change);
        }
    }

    /// Puts a directory, and those on the way to it, on the disk, durably.
    pub fn make_directory(&self, path: &Path) {
        let mut state = self.state.borrow_mut();
        let ancestors: Vec<PathBuf> = path.ancestors().map(Path::to_path_buf).collect();
        for path in ancestors.into_iter().rev() {
            let change = Change::Name(NameChange::CreateDirectory { path });
            state.visible.apply(&change);
            state.durable.apply(&change);
        }
    }

    /// Inverts one bit of a file, durably. False if there is no such file or bit.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> bool {
        self.damage(path, bit / 8, |byte| flip(byte, bit % 8))
    }

    /// Changes one byte of a file, durably. False if there is no such file or byte.
    pub fn damage(&self, path: &Path, offset: u64, mut change: impl FnMut(&mut [u8])) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(inode) = state.visible.inode(path) else {
            return false;
        };
        let state = &mut *state;
        let mut damaged = false;
        for contents in [&mut state.visible, &mut state.durable] {
            let Some(image) = contents.images.get_mut(&inode) else {
                continue;
            };
            let mut byte = [0];
            if image.read(offset, &mut byte) == 1 {
                change(&mut byte);
                image.write(offset, &byte);
                damaged = true;
            }
        }
        damaged
    }

    /// Sets the length of a file, durably. False if there is no such file.
    pub fn set_length(&self, path: &Path, length: u64) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(inode) = state.visible.inode(path) else {
            return false;
        };
        let change = Change::Length { inode, length };
        state.visible.apply(&change);
        state.durable.apply(&change);
        true
    }

    /// Removes the name of a file, durably. False if there is no such file.
    pub fn remove_file(&self, path: &Path) -> bool {
        let mut state = self.state.borrow_mut();
        let found = state.visible.inode(path).is_some();
        let change = Change::Name(NameChange::Remove {
            path: path.to_path_buf(),
        });
        state.visible.apply(&change);
        state.durable.apply(&change);
        found
    }

    /// The paths of all files, in order.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.state.borrow();
        let files = state
            .visible
            .names
            .iter()
            .filter(|(_, node)| **node != Node::Directory);
        files.map(|(path, _)| path.clone()).collect()
    }
}

impl std::fmt::Debug for SimulatedMedium {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.borrow();
        f.debug_struct("SimulatedMedium")
            .field("now", &state.now)
            .field("operations", &state.operations)
            .field("at_risk", &state.unflushed.len())
            .finish_non_exhaustive()
    }
}

/// One program's access to a [`SimulatedMedium`].
pub struct SimulatedDisk {
    state: Rc<RefCell<State>>,
    process: usize,
}

impl SimulatedDisk {
    /// The medium behind it.
    #[must_use]
    pub fn medium(&self) -> SimulatedMedium {
        SimulatedMedium {
            state: Rc::clone(&self.state),
        }
    }

    fn hand_out(&self, state: &mut State, into: &mut Vec<Completion>) -> bool {
        let process = &mut state.processes[self.process];
        process.outstanding -= process.finished.len();
        let any = !process.finished.is_empty();
        into.append(&mut process.finished);
        any
    }
}

impl Disk for SimulatedDisk {
    fn submit(&mut self, token: u64, operation: Operation) {
        let mut state = self.state.borrow_mut();
        assert!(
            state.processes[self.process].alive,
            "a program that has died with its machine submits nothing"
        );
        state.submit(self.process, token, operation);
    }

    fn reap(&mut self, into: &mut Vec<Completion>) {
        let mut state = self.state.borrow_mut();
        state.run_due();
        self.hand_out(&mut state, into);
    }

    /// Moves the clock to the next operation that is due, as often as it takes.
    ///
    /// # Panics
    /// If only held operations are outstanding: nobody could end the wait.
    fn wait(&mut self, into: &mut Vec<Completion>) {
        let mut state = self.state.borrow_mut();
        loop {
            state.run_due();
            if self.hand_out(&mut state, into) || state.processes[self.process].outstanding == 0 {
                return;
            }
            let Some(due) = state.next_due() else {
                panic!("a program blocks on an operation that the simulator holds back")
            };
            state.now = due;
        }
    }

    fn outstanding(&self) -> usize {
        self.state.borrow().processes[self.process].outstanding
    }
}

impl Drop for SimulatedDisk {
    fn drop(&mut self) {
        self.state.borrow_mut().detach(self.process);
    }
}

impl std::fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedDisk")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}
