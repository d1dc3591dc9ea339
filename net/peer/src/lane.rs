//! Which way a message goes.

use reeve_raft::{Body, Message};

/// Proposals above so many bytes do not travel with what must not wait.
const PROMPT_PROPOSAL_BYTES: usize = 64 << 10;

/// A connection carries one lane, so that what is urgent never waits behind what is large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Heartbeats, votes, acknowledgements, reads, small proposals.
    Prompt,
    /// Entries, and whatever must keep its order with them; large proposals; parts of snapshots.
    Bulk,
}

impl Lane {
    /// Both.
    pub const ALL: [Lane; 2] = [Lane::Prompt, Lane::Bulk];

    /// The lane of a message. Commit points follow the entries that they speak of: one that overtook them would be
    /// ignored, and its entries applied only after the next heartbeat.
    #[must_use]
    pub fn of(message: &Message) -> Lane {
        match &message.body {
            Body::Append { .. } | Body::Commit { .. } | Body::Snapshot { .. } => Lane::Bulk,
            Body::Propose { data, .. } => {
                let bytes: usize = data.iter().map(bytes::Bytes::len).sum();
                match bytes > PROMPT_PROPOSAL_BYTES {
                    true => Lane::Bulk,
                    false => Lane::Prompt,
                }
            }
            _ => Lane::Prompt,
        }
    }

    /// A stable number for the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Lane::Prompt => 0,
            Lane::Bulk => 1,
        }
    }

    /// The lane of a number made by [`to_byte`](Self::to_byte).
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Lane::Prompt),
            1 => Some(Lane::Bulk),
            _ => None,
        }
    }
}

impl std::fmt::Display for Lane {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(match self {
            Lane::Prompt => "prompt",
            Lane::Bulk => "bulk",
        })
    }
}
