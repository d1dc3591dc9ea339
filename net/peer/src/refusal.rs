//! Why a member takes no link from another.

use crate::frame::FrameKind;
use crate::output::Output;
use crate::table::{Malformed, Slot, Table, entry};
use bytes::Bytes;
use flatbuffers::FlatBufferBuilder;

const IDENTIFIER: &str = "RVX1";

/// Bytes of a text that are taken from a peer.
const TEXT_BYTES: usize = 400;

mod field {
    use super::Slot;
    pub(super) const REASON: Slot = 1;
    pub(super) const FIRST: Slot = 2;
    pub(super) const SECOND: Slot = 3;
    pub(super) const TEXT: Slot = 4;
}

/// The text is for the logs of both sides: it names the two values that differ, and what to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The two belong to different clusters.
    #[error(
        "cluster ID mismatch: the dialling member is of cluster {dialling:x}, the answering one of cluster {answering:x}; \
         check --initial-cluster-token, --initial-cluster and --data-dir of both"
    )]
    WrongCluster {
        /// Cluster of the dialling member.
        dialling: u64,
        /// Cluster of the answering member.
        answering: u64,
    },
    /// Another member answers at this address.
    #[error(
        "member ID mismatch: member {meant:x} was dialled, but member {answering:x} listens there; check the peer URLs of both"
    )]
    WrongMember {
        /// Who was meant.
        meant: u64,
        /// Who answers.
        answering: u64,
    },
    /// The dialling member is not known here; it may be that its addition is not applied yet.
    #[error("member {member:x} is not in the cluster, as far as the answering member knows")]
    UnknownMember {
        /// The dialling member.
        member: u64,
    },
    /// The dialling member was removed.
    #[error(
        "member {member:x} has been permanently removed from the cluster; its data directory must be removed before its \
         machine joins again"
    )]
    RemovedMember {
        /// The dialling member.
        member: u64,
    },
    /// Another process with the same id is connected, and lives.
    #[error(
        "another process is connected as member {member:x}: the same member runs twice, perhaps from a copied data directory"
    )]
    SameMember {
        /// The id of both.
        member: u64,
    },
    /// The two have no version in common.
    #[error(
        "no common version of the peer protocol: the newest of the dialling member is {dialling}, of the answering one \
         {answering}; upgrade member by member, one minor release at a time"
    )]
    Version {
        /// Newest version of the dialling member.
        dialling: u64,
        /// Newest version of the answering member.
        answering: u64,
    },
    /// The greeting makes no sense, or was written by a later version.
    #[error("the greeting cannot be read: {0}")]
    Greeting(String),
    /// A reason that only the other side knows.
    #[error("{0}")]
    Other(String),
}

impl Refusal {
    fn parts(&self) -> (u8, u64, u64) {
        match *self {
            Refusal::Other(_) => (0, 0, 0),
            Refusal::WrongCluster {
                dialling,
                answering,
            } => (1, dialling, answering),
            Refusal::WrongMember { meant, answering } => (2, meant, answering),
            Refusal::UnknownMember { member } => (3, member, 0),
            Refusal::RemovedMember { member } => (4, member, 0),
            Refusal::SameMember { member } => (5, member, 0),
            Refusal::Version {
                dialling,
                answering,
            } => (6, dialling, answering),
            Refusal::Greeting(_) => (7, 0, 0),
        }
    }

    fn text(&self) -> String {
        let text = match self {
            Refusal::Greeting(text) | Refusal::Other(text) => text.clone(),
            known => known.to_string(),
        };
        text.chars().take(TEXT_BYTES / 4).collect()
    }

    /// Appends it as a frame.
    pub fn push(&self, output: &mut Output) {
        let mut builder = FlatBufferBuilder::new();
        let text = builder.create_vector(self.text().as_bytes());
        let (reason, first, second) = self.parts();
        let start = builder.start_table();
        builder.push_slot(entry(field::FIRST), first, 0);
        builder.push_slot(entry(field::SECOND), second, 0);
        builder.push_slot_always(entry(field::TEXT), text);
        builder.push_slot(entry(field::REASON), reason, 0);
        let root = builder.end_table(start);
        builder.finish(root, Some(IDENTIFIER));
        let content = Bytes::copy_from_slice(builder.finished_data());
        output.push_frame(FrameKind::Refusal, &content);
    }

    /// Reads the content of a frame of kind [`FrameKind::Refusal`]. A reason that is not known here keeps its text.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(content: &[u8]) -> Result<Refusal, Malformed> {
        let table = Table::root(content, IDENTIFIER)?;
        let (first, second) = (table.number(field::FIRST)?, table.number(field::SECOND)?);
        let text = table.vector(field::TEXT, 1)?;
        let text = text.get(..TEXT_BYTES).unwrap_or(text);
        let text = String::from_utf8_lossy(text).into_owned();
        Ok(match table.byte(field::REASON)? {
            1 => Refusal::WrongCluster {
                dialling: first,
                answering: second,
            },
            2 => Refusal::WrongMember {
                meant: first,
                answering: second,
            },
            3 => Refusal::UnknownMember { member: first },
            4 => Refusal::RemovedMember { member: first },
            5 => Refusal::SameMember { member: first },
            6 => Refusal::Version {
                dialling: first,
                answering: second,
            },
            7 => Refusal::Greeting(text),
            _ => Refusal::Other(text),
        })
    }
}
