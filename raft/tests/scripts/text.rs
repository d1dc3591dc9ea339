//! How things are written in scripts.

use reeve_raft::{
    Body, ConfigurationChange, ConfigurationState, Entry, EntryKind, HardState, LogPoint,
    LogReadPurpose, Message, PeerPhase, PeerStatus,
};

use crate::support::PendingWrite;

pub(crate) fn point(point: LogPoint) -> String {
    format!("{}/{}", point.index, point.term)
}

pub(crate) fn entry(entry: &Entry) -> String {
    let point = point(entry.point());
    match entry.kind {
        EntryKind::Empty => format!("{point} empty"),
        EntryKind::Command if entry.data.len() > 40 => {
            format!("{point} {} bytes", entry.data.len())
        }
        EntryKind::Command => format!("{point} {:?}", String::from_utf8_lossy(&entry.data)),
        EntryKind::Configuration => {
            let change = ConfigurationChange::from_bytes(&entry.data).unwrap();
            format!("{point} {:?} {}", change.kind, change.member)
        }
    }
}

pub(crate) fn entries(entries: &[Entry]) -> String {
    match entries {
        [] => "nothing".to_owned(),
        [first, .., last] if entries.len() > 8 => {
            format!("[{} .. {}]", entry(first), entry(last))
        }
        _ => format!(
            "[{}]",
            entries.iter().map(entry).collect::<Vec<_>>().join(", ")
        ),
    }
}

pub(crate) fn configuration(configuration: &ConfigurationState) -> String {
    let list = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let learners = match configuration.learners() {
        [] => String::new(),
        ids => format!(" learners {}", list(ids)),
    };
    format!("voters {}{learners}", list(configuration.voters()))
}

fn hard_state(hard: HardState) -> String {
    let vote = hard
        .vote
        .map_or_else(|| "nobody".to_owned(), |vote| vote.to_string());
    format!("term {} vote {vote} commit {}", hard.term, hard.commit)
}

pub(crate) fn write(write: &PendingWrite) -> String {
    let mut parts = Vec::new();
    parts.extend(write.hard_state.map(hard_state));
    parts.extend(write.install.as_ref().map(|(snapshot, _)| {
        format!(
            "install {} {}",
            point(snapshot.point),
            configuration(&snapshot.configuration)
        )
    }));
    if !write.entries.is_empty() {
        parts.push(entries(&write.entries));
    }
    format!("write {}: {}", write.sequence, parts.join("; "))
}

pub(crate) fn purpose(purpose: LogReadPurpose) -> String {
    match purpose {
        LogReadPurpose::Apply => "to apply".to_owned(),
        LogReadPurpose::Peer(peer) => format!("for {peer}"),
    }
}

pub(crate) fn message(message: &Message) -> String {
    let yes = |granted: &bool| if *granted { "yes" } else { "no" };
    let body = match &message.body {
        Body::PreVote { last } => format!("pre-vote? last {}", point(*last)),
        Body::PreVoteResponse {
            campaign_term,
            granted,
        } => {
            format!("pre-vote for term {campaign_term}: {}", yes(granted))
        }
        Body::Vote { last, transfer } => {
            format!(
                "vote? last {}{}",
                point(*last),
                if *transfer { " (transfer)" } else { "" }
            )
        }
        Body::VoteResponse { granted } => format!("vote: {}", yes(granted)),
        Body::Append {
            previous,
            entries: list,
            commit,
        } => {
            format!(
                "append after {}: {}, commit {commit}",
                point(*previous),
                entries(list)
            )
        }
        Body::AppendResponse { index } => format!("appended {index}"),
        Body::AppendRejected { previous, hint } => {
            format!("rejected {previous}, perhaps {}", point(*hint))
        }
        Body::Heartbeat { round } => format!("heartbeat {round}"),
        Body::HeartbeatResponse {
            round,
            commit,
            matched,
        } => {
            format!("alive {round}, commit {commit}, matched {matched}")
        }
        Body::Commit { point: committed } => format!("committed {}", point(*committed)),
        Body::Snapshot { point: snapshot } => {
            format!(
                "snapshot {} {}",
                point(snapshot.point),
                configuration(&snapshot.configuration)
            )
        }
        Body::TimeoutNow => "timeout now".to_owned(),
        Body::ReadIndex { context } => format!("read {}.{}?", context.incarnation, context.number),
        Body::ReadIndexResponse { context, index } => {
            format!("read {}.{} at {index}", context.incarnation, context.number)
        }
        Body::Propose { id, data, .. } => format!("propose {id}: {} entries", data.len()),
        Body::ProposeRefused { id } => format!("refused {id}"),
        Body::NewerTerm => "newer term".to_owned(),
    };
    format!(
        "{} -> {} term {}: {body}",
        message.from, message.to, message.term
    )
}

pub(crate) fn peer(peer: &PeerStatus) -> String {
    let phase = match peer.phase {
        PeerPhase::Probe => "probe".to_owned(),
        PeerPhase::Replicate => "replicate".to_owned(),
        PeerPhase::Snapshot { index: None } => "needs a snapshot".to_owned(),
        PeerPhase::Snapshot { index: Some(index) } => format!("snapshot {index}"),
    };
    let learner = if peer.learner { " learner" } else { "" };
    let active = if peer.active { "" } else { " silent" };
    format!(
        "{}{learner}: {phase} matched {} next {} inflight {}{active}",
        peer.member, peer.matched, peer.next, peer.inflight_bytes
    )
}
