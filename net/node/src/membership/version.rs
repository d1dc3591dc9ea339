//! The cluster version: what all members understand. Its leader raises it when every member reads more than was agreed.

use crate::NodeError;
use crate::node::Node;
use reeve_engine::command::{Body, ClusterVersion, Header};
use reeve_engine::disk::Disk;
use reeve_engine::members::MemberTable;

/// etcd's version of the cluster that this release stands for.
pub const CLUSTER_VERSION: &str = "3.7.0";

/// The format that every release reads.
const FIRST_FORMAT: u64 = 1;

/// What a leader has proposed: the same is not proposed twice in a term.
#[derive(Debug, Default)]
pub(crate) struct VersionProposals {
    term: u64,
    format: u64,
}

/// The format that a leader which reads up to `own` should propose, if any: the highest that all members read. Of a
/// member that has not started nothing is known, so it might be of the oldest release.
fn wanted(table: &MemberTable, own: u64) -> Option<u64> {
    let formats = table.members.values().map(|member| member.format);
    let all = formats.min().unwrap_or(FIRST_FORMAT);
    let wanted = all.max(FIRST_FORMAT).min(own);
    let agreed = table.version.as_ref().map_or(0, |version| version.format);
    (wanted > agreed).then_some(wanted)
}

impl<D: Disk> Node<D> {
    /// The highest format of commands that may be proposed, as of the applied entries; 0 until it is settled.
    #[must_use]
    pub fn agreed_format(&self) -> u64 {
        let version = &self.member_records().version;
        version.as_ref().map_or(0, |version| version.format)
    }

    /// Proposes the cluster version if it is due.
    pub(crate) fn settle_version(&mut self) -> Result<(), NodeError> {
        if !self.raft.is_leader() {
            return Ok(());
        }
        let Some(format) = wanted(self.pipeline.members(), self.options.format) else {
            return Ok(());
        };
        let term = self.raft.term();
        let done = &self.version_proposals;
        if done.term == term && done.format >= format {
            return Ok(());
        }
        let body = Body::ClusterVersion(ClusterVersion {
            version: CLUSTER_VERSION.as_bytes(),
            format,
        });
        let Ok(command) = self.encoder.encode(&Header::default(), &body) else {
            unreachable!("a cluster version is not nested");
        };
        // If it is refused now, the next turn tries again.
        if self.raft.propose(command).is_ok() {
            self.version_proposals = VersionProposals { term, format };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_engine::members::{AgreedVersion, MemberRecord};

    fn table(formats: &[u64], agreed: u64) -> MemberTable {
        let member = |(id, format): (u64, &u64)| {
            let format = *format;
            let record = MemberRecord {
                id,
                format,
                ..MemberRecord::default()
            };
            (id, record)
        };
        MemberTable {
            members: (1..).zip(formats).map(member).collect(),
            version: (agreed > 0).then(|| AgreedVersion {
                format: agreed,
                text: CLUSTER_VERSION.to_owned(),
            }),
            ..MemberTable::default()
        }
    }

    #[test]
    fn what_all_read_is_agreed_and_no_more() {
        assert_eq!(wanted(&table(&[], 0), 1), Some(1));
        assert_eq!(wanted(&table(&[0, 0, 0], 0), 2), Some(1));
        assert_eq!(wanted(&table(&[2, 2, 0], 1), 2), None);
        assert_eq!(wanted(&table(&[2, 2, 1], 1), 2), None);
        assert_eq!(wanted(&table(&[2, 2, 2], 1), 2), Some(2));
        assert_eq!(wanted(&table(&[3, 3, 3], 1), 2), Some(2));
        assert_eq!(wanted(&table(&[2, 2, 2], 2), 2), None);
        assert_eq!(wanted(&table(&[1, 2, 2], 2), 2), None);
    }
}
