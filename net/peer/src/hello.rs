//! The handshake: who dials, who answers, and whether they belong together.

use crate::MAGIC;
use crate::frame::FrameKind;
use crate::lane::Lane;
use crate::output::Output;
use crate::refusal::Refusal;
use crate::table::{Malformed, Slot, Table, entry};
use bytes::Bytes;
use flatbuffers::FlatBufferBuilder;
use reeve_raft::MemberId;

/// The oldest version of frames and messages that this build speaks.
pub const PROTOCOL_OLDEST: u16 = 1;

/// The newest version of frames and messages that this build speaks.
pub const PROTOCOL_NEWEST: u16 = 1;

const HELLO: &str = "RVH1";
const WELCOME: &str = "RVW1";

/// Bytes of a release's name that are taken from a peer.
const RELEASE_BYTES: usize = 64;

/// Bytes of all peer URLs together: a hello has to fit into what an earlier build takes before the handshake is done.
const URLS_BYTES: usize = 600;

mod greeting {
    use super::Slot;
    pub(super) const PROTOCOL_OLDEST: Slot = 1;
    pub(super) const PROTOCOL_NEWEST: Slot = 2;
    pub(super) const CLUSTER: Slot = 3;
    pub(super) const FROM: Slot = 4;
    pub(super) const TO: Slot = 5;
    pub(super) const PROCESS: Slot = 6;
    pub(super) const FORMAT: Slot = 7;
    pub(super) const LANE: Slot = 8;
    pub(super) const RELEASE: Slot = 9;
    pub(super) const PEER_URLS: Slot = 10;
}

mod answer {
    use super::Slot;
    pub(super) const PROTOCOL: Slot = 1;
    pub(super) const FROM: Slot = 2;
    pub(super) const PROCESS: Slot = 3;
    pub(super) const FORMAT: Slot = 4;
    pub(super) const RELEASE: Slot = 5;
}

/// This side, in every handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The cluster.
    pub cluster: u64,
    /// This member.
    pub member: MemberId,
    /// A number drawn when the process started: it tells a restarted member from a second process of the same member.
    pub process: u64,
    /// The version of what this build writes to logs and pages.
    pub format: u32,
    /// The version text of this build.
    pub release: String,
}

/// What the dialling side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version that it speaks.
    pub protocol_oldest: u16,
    /// The newest version that it speaks.
    pub protocol_newest: u16,
    /// Who it is.
    pub from: Local,
    /// Whom it means to reach.
    pub to: MemberId,
    /// What the connection is for.
    pub lane: Lane,
    /// Where it is found by others: for a member that has not heard of it yet. Empty from a build that does not say.
    pub peer_urls: Vec<String>,
}

/// What the answering side says if it takes the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version spoken from now on.
    pub protocol: u16,
    /// Who it is; the cluster is the dialler's.
    pub from: Local,
}

/// What is known here about a member that dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to the cluster.
    Member,
    /// It is not known, or not yet; but it says where it is found, and there is nobody else who could tell who belongs to the
    /// cluster.
    Remote,
    /// It is not known, or not yet.
    Unknown,
    /// It was removed.
    Removed,
    /// It belongs to the cluster, but another process with its id is connected and lives.
    Doubled,
}

/// Decides about a hello.
///
/// # Errors
/// Why the link is not taken.
pub fn judge(hello: &Hello, local: &Local, standing: Standing) -> Result<Welcome, Refusal> {
    let from = &hello.from;
    let protocol = hello.protocol_newest.min(PROTOCOL_NEWEST);
    if protocol < hello.protocol_oldest.max(PROTOCOL_OLDEST) {
        return Err(Refusal::Version {
            dialling: hello.protocol_newest.into(),
            answering: PROTOCOL_NEWEST.into(),
        });
    }
    if from.cluster != local.cluster {
        return Err(Refusal::WrongCluster {
            dialling: from.cluster,
            answering: local.cluster,
        });
    }
    if hello.to != local.member {
        return Err(Refusal::WrongMember {
            meant: hello.to,
            answering: local.member,
        });
    }
    let member = from.member;
    if member == local.member {
        return Err(Refusal::SameMember { member });
    }
    match standing {
        Standing::Member | Standing::Remote => Ok(Welcome {
            protocol,
            from: local.clone(),
        }),
        Standing::Unknown => Err(Refusal::UnknownMember { member }),
        Standing::Removed => Err(Refusal::RemovedMember { member }),
        Standing::Doubled => Err(Refusal::SameMember { member }),
    }
}

fn release(local: &Local) -> &[u8] {
    let bytes = local.release.as_bytes();
    bytes.get(..RELEASE_BYTES).unwrap_or(bytes)
}

fn release_text(bytes: &[u8]) -> String {
    shown(bytes.get(..RELEASE_BYTES).unwrap_or(bytes))
}

/// A text of a peer, fit for logs.
fn shown(bytes: &[u8]) -> String {
    let shown = |character: char| match character.is_control() {
        true => '?',
        false => character,
    };
    String::from_utf8_lossy(bytes).chars().map(shown).collect()
}

/// As many URLs as there is room for, with commas, which no URL of a member has.
fn urls_text(urls: &[String]) -> String {
    let mut text = String::new();
    for url in urls {
        if text.len() + 1 + url.len() <= URLS_BYTES && !url.contains(',') {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(url);
        }
    }
    text
}

fn urls(bytes: &[u8]) -> Vec<String> {
    let text = shown(bytes.get(..URLS_BYTES).unwrap_or(bytes));
    let urls = text.split(',').filter(|url| !url.is_empty());
    urls.map(str::to_owned).collect()
}

impl Hello {
    /// A hello of this build.
    #[must_use]
    pub fn new(from: &Local, to: MemberId, lane: Lane) -> Self {
        Hello {
            protocol_oldest: PROTOCOL_OLDEST,
            protocol_newest: PROTOCOL_NEWEST,
            from: from.clone(),
            to,
            lane,
            peer_urls: Vec::new(),
        }
    }

    /// With what others find the sender by. Of very many URLs only the first are said.
    #[must_use]
    pub fn with_peer_urls(mut self, peer_urls: Vec<String>) -> Self {
        self.peer_urls = peer_urls;
        self
    }

    /// Appends what a connection begins with.
    pub fn push(&self, output: &mut Output) {
        let mut builder = FlatBufferBuilder::new();
        let release = builder.create_vector(release(&self.from));
        let urls = urls_text(&self.peer_urls);
        let urls = (!urls.is_empty()).then(|| builder.create_vector(urls.as_bytes()));
        let start = builder.start_table();
        if let Some(urls) = urls {
            builder.push_slot_always(entry(greeting::PEER_URLS), urls);
        }
        builder.push_slot(entry(greeting::CLUSTER), self.from.cluster, 0);
        builder.push_slot(entry(greeting::FROM), self.from.member, 0);
        builder.push_slot(entry(greeting::TO), self.to, 0);
        builder.push_slot(entry(greeting::PROCESS), self.from.process, 0);
        builder.push_slot(entry(greeting::FORMAT), self.from.format, 0);
        builder.push_slot_always(entry(greeting::RELEASE), release);
        builder.push_slot(entry(greeting::PROTOCOL_OLDEST), self.protocol_oldest, 0);
        builder.push_slot(entry(greeting::PROTOCOL_NEWEST), self.protocol_newest, 0);
        builder.push_slot(entry(greeting::LANE), self.lane.to_byte(), 0);
        let root = builder.end_table(start);
        builder.finish(root, Some(HELLO));
        output.push_bytes(MAGIC);
        let content = Bytes::copy_from_slice(builder.finished_data());
        output.push_frame(FrameKind::Hello, &content);
    }

    /// Reads the content of a frame of kind [`FrameKind::Hello`].
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(content: &[u8]) -> Result<Hello, Malformed> {
        let table = Table::root(content, HELLO)?;
        let lane = Lane::from_byte(table.byte(greeting::LANE)?);
        Ok(Hello {
            protocol_oldest: table.half(greeting::PROTOCOL_OLDEST)?,
            protocol_newest: table.half(greeting::PROTOCOL_NEWEST)?,
            from: Local {
                cluster: table.number(greeting::CLUSTER)?,
                member: table.number(greeting::FROM)?,
                process: table.number(greeting::PROCESS)?,
                format: table.word(greeting::FORMAT)?,
                release: release_text(table.vector(greeting::RELEASE, 1)?),
            },
            to: table.number(greeting::TO)?,
            lane: lane.ok_or(Malformed::Field("lane"))?,
            peer_urls: urls(table.vector(greeting::PEER_URLS, 1)?),
        })
    }
}

impl Welcome {
    /// Appends it as a frame.
    pub fn push(&self, output: &mut Output) {
        let mut builder = FlatBufferBuilder::new();
        let release = builder.create_vector(release(&self.from));
        let start = builder.start_table();
        builder.push_slot(entry(answer::FROM), self.from.member, 0);
        builder.push_slot(entry(answer::PROCESS), self.from.process, 0);
        builder.push_slot(entry(answer::FORMAT), self.from.format, 0);
        builder.push_slot_always(entry(answer::RELEASE), release);
        builder.push_slot(entry(answer::PROTOCOL), self.protocol, 0);
        let root = builder.end_table(start);
        builder.finish(root, Some(WELCOME));
        let content = Bytes::copy_from_slice(builder.finished_data());
        output.push_frame(FrameKind::Welcome, &content);
    }

    /// Reads the content of a frame of kind [`FrameKind::Welcome`], the answer to `hello`.
    ///
    /// # Errors
    /// [`Malformed`], also if the answer does not fit the question.
    pub fn read(content: &[u8], hello: &Hello) -> Result<Welcome, Malformed> {
        let table = Table::root(content, WELCOME)?;
        let protocol = table.half(answer::PROTOCOL)?;
        if !(hello.protocol_oldest..=hello.protocol_newest).contains(&protocol) {
            return Err(Malformed::Field("protocol"));
        }
        let member = table.number(answer::FROM)?;
        if member != hello.to {
            return Err(Malformed::Field("from"));
        }
        Ok(Welcome {
            protocol,
            from: Local {
                cluster: hello.from.cluster,
                member,
                process: table.number(answer::PROCESS)?,
                format: table.word(answer::FORMAT)?,
                release: release_text(table.vector(answer::RELEASE, 1)?),
            },
        })
    }
}
