//! What the simulator decides about each operation: how long it takes, and what goes wrong.

use std::path::Path;

use crate::disk::Action;

/// An operation about to be started, as the host sees it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// How many operations were submitted to this medium before it.
    pub number: u64,
    /// The process that submits it, counted from 0 in the order of attachment.
    pub process: u32,
    /// What it does. A durable write is a `Write` with `durable` set.
    pub action: Action,
    /// The file or directory.
    pub path: &'a Path,
    /// First byte, for reads and writes.
    pub offset: u64,
    /// Bytes, for reads, writes and reservations.
    pub length: u64,
    /// Whether the write is flushed as part of the operation.
    pub durable: bool,
}

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this error number. A failed write may have reached the medium in part: how far is drawn,
    /// and seen from then on. A failed flush leaves its writes visible but never makes them durable, as Linux
    /// does: a second flush succeeds and means nothing, and a loss of power may undo them until the same bytes
    /// are written again.
    Error(i32),
    /// The device is full. Nothing is written.
    NoSpace,
    /// A write is acknowledged and never done.
    LostWrite,
    /// A write lands at another offset of the same file.
    Misdirected {
        /// Where it lands.
        offset: u64,
    },
    /// One bit is inverted in what is written, or in what is read (the medium stays as it is).
    FlippedBit {
        /// Which bit, counted from the start of the transfer; taken modulo its length.
        bit: u64,
    },
    /// Power fails while the operation is on its way: it may or may not have happened, and every
    /// later one fails. See [`super::SimulatedMedium::crash_images`].
    PowerLoss,
}

/// When an operation is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// So many nanoseconds of simulated time after its submission.
    Nanoseconds(u64),
    /// When [`super::SimulatedMedium::release`] is called.
    Held,
}

/// The host's decision on one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// When it is done.
    pub delay: Delay,
    /// What goes wrong, if anything.
    pub fault: Option<Fault>,
}

impl Verdict {
    /// Done at once, and well.
    pub const PROMPT: Self = Self {
        delay: Delay::Nanoseconds(0),
        fault: None,
    };

    /// Done well after so many nanoseconds.
    #[must_use]
    pub const fn after(nanoseconds: u64) -> Self {
        Self {
            delay: Delay::Nanoseconds(nanoseconds),
            fault: None,
        }
    }

    /// Gone wrong at once.
    #[must_use]
    pub const fn fault(fault: Fault) -> Self {
        Self {
            delay: Delay::Nanoseconds(0),
            fault: Some(fault),
        }
    }
}

/// Decides the fate of operations. It must be deterministic for a run to be repeatable.
pub trait Host {
    /// Called once for each operation, in the order of submission.
    fn decide(&mut self, request: &Request<'_>) -> Verdict;
}

impl<F: FnMut(&Request<'_>) -> Verdict> Host for F {
    fn decide(&mut self, request: &Request<'_>) -> Verdict {
        self(request)
    }
}

/// A disk without faults and without delay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faultless;

impl Host for Faultless {
    fn decide(&mut self, _: &Request<'_>) -> Verdict {
        Verdict::PROMPT
    }
}

/// Strikes one operation, by its number on the medium; all others go well.
#[derive(Debug, Clone, Copy)]
pub struct FailNth {
    /// Which operation.
    pub number: u64,
    /// How it fails.
    pub fault: Fault,
}

impl Host for FailNth {
    fn decide(&mut self, request: &Request<'_>) -> Verdict {
        if request.number == self.number {
            Verdict::fault(self.fault)
        } else {
            Verdict::PROMPT
        }
    }
}
