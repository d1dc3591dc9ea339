//! Log entries and points in the log.

use bytes::Bytes;

/// What an entry carries besides its data, in bytes, for every limit that counts bytes.
///
/// It keeps a flood of empty entries from slipping past limits that would otherwise see nothing.
pub const ENTRY_OVERHEAD: u64 = 32;

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// An opaque command of the host.
    Command,
    /// The entry without data that every leader appends first (Raft paper, section 8).
    Empty,
    /// An encoded [`ConfigurationChange`](crate::ConfigurationChange).
    Configuration,
}

impl EntryKind {
    /// A stable number for files and the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Command => 0,
            Self::Empty => 1,
            Self::Configuration => 2,
        }
    }

    /// The kind of a number made by [`to_byte`](Self::to_byte); `None` if unknown.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Command),
            1 => Some(Self::Empty),
            2 => Some(Self::Configuration),
            _ => None,
        }
    }
}

/// One entry of the replicated log. Cloning shares the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Term of the leader that made the entry.
    pub term: u64,
    /// Position in the log; the first entry has index 1.
    pub index: u64,
    /// What the entry is for.
    pub kind: EntryKind,
    /// The host's bytes; empty for [`EntryKind::Empty`].
    pub data: Bytes,
}

impl Entry {
    /// What the entry counts for in every limit, in bytes: its data and [`ENTRY_OVERHEAD`].
    #[must_use]
    pub fn size(&self) -> u64 {
        self.data.len() as u64 + ENTRY_OVERHEAD
    }

    /// Where the entry stands.
    #[must_use]
    pub fn point(&self) -> LogPoint {
        LogPoint {
            index: self.index,
            term: self.term,
        }
    }
}

/// A position in the log together with the term of the entry there.
///
/// Two logs that hold an entry at the same point are equal up to it (log matching, Raft paper,
/// section 5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogPoint {
    /// Index of the entry; 0 stands for the empty log.
    pub index: u64,
    /// Term of the entry; 0 only with index 0.
    pub term: u64,
}

impl LogPoint {
    /// Whether a log that ends here is at least as up to date as one that ends at `other` (Raft
    /// paper, section 5.4.1): the later term wins, then the greater index.
    #[must_use]
    pub fn is_up_to_date_with(self, other: LogPoint) -> bool {
        (self.term, self.index) >= (other.term, other.index)
    }
}
