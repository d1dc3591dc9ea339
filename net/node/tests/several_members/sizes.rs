//! Entries that the log does not take: refused wherever they come from, and nobody stops.

use super::*;
use reeve_engine::wal::largest_entry;
use reeve_node::ProposalRefusal;
use reeve_raft::{Body as Said, Entry};

/// A command with a value of so many bytes.
fn command(cluster: &mut Cluster, id: MemberId, length: usize) -> Bytes {
    let value = vec![7; length];
    let put = Body::Put(Put {
        key: b"large",
        value: &value,
        ..Put::default()
    });
    cluster.command(id, &put).1
}

#[test]
fn a_command_that_no_entry_can_hold_is_refused_whoever_is_asked() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let limit = largest_entry(cluster.segment_bytes);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    for id in [leader, follower] {
        let command = command(&mut cluster, id, limit);
        let bytes = command.len();
        let refusal = cluster.node(id).propose(command).unwrap_err();
        assert_eq!(refusal, ProposalRefusal::TooLarge { bytes, limit });
        let change = ConfigurationChange {
            kind: ChangeKind::AddLearner,
            member: 9,
            context: Bytes::from(vec![0; limit]),
        };
        let refusal = cluster.node(id).propose_members(&change).unwrap_err();
        assert!(matches!(refusal, ProposalRefusal::TooLarge { .. }));
        cluster.settle();
        // The largest that fits, or a few bytes less.
        let value = vec![id as u8; 2 * limit - bytes - 8];
        cluster.put(id, b"large", &value);
        assert_eq!(cluster.value(id, b"large"), Some(value));
    }
    cluster.wait_for_agreement(&[1, 2, 3]);
}

#[test]
fn a_message_with_what_no_entry_can_hold_is_refused() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let limit = largest_entry(cluster.segment_bytes);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    cluster.put(leader, b"a", b"1");
    cluster.wait_for_agreement(&[1, 2, 3]);
    let term = cluster.members[&leader].node.consensus().term();
    let state = cluster.members[&follower].node.state();
    let data = command(&mut cluster, follower, limit);
    let entry = Entry {
        term,
        index: state.applied_index + 1,
        kind: EntryKind::Command,
        data: data.clone(),
    };
    let append = Said::Append {
        previous: LogPoint {
            index: state.applied_index,
            term: state.applied_term,
        },
        entries: Arc::from([entry]),
        commit: state.applied_index,
    };
    let proposal = Said::Propose {
        id: 1 << 40,
        kind: EntryKind::Command,
        data: vec![data],
    };
    for (from, to, body) in [(leader, follower, append), (follower, leader, proposal)] {
        let message = Message {
            from,
            to,
            term,
            body,
        };
        let refusal = cluster.node(to).step(from, message).unwrap_err();
        assert!(matches!(refusal, StepRefusal::Size { .. }), "{refusal}");
        cluster.settle();
    }
    cluster.put(follower, b"a", b"2");
    cluster.wait_for_agreement(&[1, 2, 3]);
    assert_eq!(cluster.value(follower, b"large"), None);
}
