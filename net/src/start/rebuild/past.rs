//! What the directories of a member still tell: who it was, and what an earlier rebuild has begun.

use super::super::entrance::{Entrance, Rebuilt, recorded};
use super::aside::prepared;
use crate::start::DataDirectory;
use reeve_engine::wal::Identity;
use reeve_node::MemberRecord;
use std::path::Path;

/// See the module.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) log: Log,
    /// How the member came into its cluster.
    pub(super) noted: Option<Entrance>,
    /// What an earlier call was about to do, or has done, without coming to its end.
    pub(super) pending: Option<Entrance>,
}

/// The member's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// There is none.
    Missing,
    /// One of this member.
    Of(Identity),
    /// One of which nobody can say whose it is.
    Unreadable,
}

impl Past {
    /// Reads what can be read.
    pub(super) fn read(data: &Path, directory: &DataDirectory) -> Self {
        let log = match recorded(directory.write_ahead_log()) {
            Ok(None) => Log::Missing,
            Ok(Some(identity)) => Log::Of(identity),
            Err(_) => Log::Unreadable,
        };
        Past {
            log,
            noted: Entrance::noted(directory.member()).unwrap_or_default(),
            pending: prepared(data),
        }
    }

    /// Whom this member knew.
    pub(super) fn peers(&self) -> impl Iterator<Item = &MemberRecord> {
        let notes = self.noted.iter().chain(&self.pending);
        notes.flat_map(|note| &note.peers)
    }

    /// The id that this member had.
    ///
    /// # Errors
    /// That its data is of another cluster than this one.
    pub(super) fn known(&self, cluster: u64) -> Result<Option<u64>, String> {
        let log = match self.log {
            Log::Of(identity) => Some((identity.cluster_id, identity.member_id)),
            Log::Missing | Log::Unreadable => None,
        };
        let notes = self.noted.iter().chain(&self.pending);
        let known = log
            .into_iter()
            .chain(notes.map(|note| (note.cluster, note.member)))
            .next();
        match known {
            Some((other, _)) if other != cluster => Err(format!(
                "the data directory is of cluster {other:x}, and the members that were asked are of cluster {cluster:x}"
            )),
            known => Ok(known.map(|(_, member)| member)),
        }
    }

    /// Whether it is certain that this member has never run under an id, which it may take therefore.
    pub(super) fn never_was(&self, id: u64) -> bool {
        match self.log {
            Log::Of(identity) => identity.member_id != id,
            // Perhaps that one's.
            Log::Unreadable => false,
            Log::Missing => !self.has_run(id) && (self.pending.is_some() || self.waits_as(id)),
        }
    }

    /// Whether an earlier call has done everything for this id.
    pub(super) fn is_placed(&self, id: u64) -> bool {
        self.log == Log::Missing && self.pending.is_none() && self.waits_as(id)
    }

    /// Whether it is noted that this member has run under an id, or may have.
    fn has_run(&self, id: u64) -> bool {
        let mut notes = self.noted.iter().chain(&self.pending);
        notes.any(|note| note.member == id && note.begun)
    }

    fn waits_as(&self, id: u64) -> bool {
        self.noted
            .as_ref()
            .is_some_and(|noted| noted.member == id && !noted.begun)
    }

    /// What the member was, and shall be again; `own` is what the cluster has in its place. A vote is given only to a member
    /// that had one, or that was to get one back.
    pub(super) fn role(&self, own: Option<&MemberRecord>) -> Rebuilt {
        let pending = self.pending.iter();
        let promised = match own {
            Some(own) if !own.learner => Some(Rebuilt::Voter),
            Some(own) => {
                // A started learner has its role from elsewhere, unless it was rebuilt and waits for its vote.
                let pending = pending.filter(|it| !own.is_started() || it.member == own.id);
                let noted = self.noted.iter().filter(|it| it.member == own.id);
                pending.chain(noted).find_map(|it| it.rebuilt)
            }
            None => {
                let noted = self.noted.iter();
                let began = noted.clone().filter(|it| began_with_vote(it));
                pending
                    .chain(noted)
                    .find_map(|it| it.rebuilt)
                    .or(began.map(|_| Rebuilt::Voter).next())
            }
        };
        promised.unwrap_or(Rebuilt::Learner)
    }
}

/// Whether a member came into its cluster with a vote; it keeps it.
fn began_with_vote(noted: &Entrance) -> bool {
    let mut members = noted.founders.iter().chain(&noted.peers);
    members.any(|it| it.id == noted.member && !it.learner)
}
