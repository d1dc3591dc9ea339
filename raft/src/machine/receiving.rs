//! Messages in: checks, terms, and the way to the part that handles each.

use super::Raft;
use super::following::Appended;
use crate::MemberId;
use crate::entry::LogPoint;
use crate::error::StepError;
use crate::message::{Body, MAX_PLAUSIBLE, MAX_SNAPSHOT_INDEX, MAX_TERM_LEAP, Message};
use crate::output::Role;

impl Raft {
    /// Takes a message from a peer.
    ///
    /// # Errors
    /// [`StepError`] for a message that no honest member sends to this one; it had no effect. Stale
    /// messages are no errors.
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        check(&message, self.config.id)?;
        if message.term > self.hard.term + MAX_TERM_LEAP {
            return Err(StepError::Malformed {
                from: message.from,
                what: "its term is too far ahead of this member's",
            });
        }
        let Message {
            from, term, body, ..
        } = message;
        if let Body::PreVote { last } = body {
            self.handle_pre_vote(from, term, last);
            return Ok(());
        }
        // A voter that would help need not have reached the candidate's term.
        let may_lag = matches!(body, Body::PreVoteResponse { .. });
        if term < self.hard.term && !may_lag {
            self.step_stale(from, body);
            return Ok(());
        }
        if term > self.hard.term && !self.adopt_term(from, term, &body) {
            return Ok(());
        }
        if body.is_from_leader() {
            self.hear_leader(from, term)?;
        }
        self.dispatch(from, body)
    }

    /// A newer term has come up; tells whether the message is to be handled in it.
    fn adopt_term(&mut self, from: MemberId, term: u64, body: &Body) -> bool {
        if matches!(
            body,
            Body::Vote {
                transfer: false,
                ..
            }
        ) && self.in_lease()
        {
            return false;
        }
        if self.role == Role::Leader && body.is_answer() && !self.configuration.contains(from) {
            return false;
        }
        self.become_follower(term, None);
        true
    }

    /// Answers what was sent in a term that is over, so that the sender learns of the newer one.
    fn step_stale(&mut self, from: MemberId, body: Body) {
        match body {
            Body::Append { .. } | Body::Commit { .. } | Body::Heartbeat { .. } => {
                self.send(from, Body::NewerTerm);
            }
            Body::Vote { .. } => self.send(from, Body::VoteResponse { granted: false }),
            Body::Snapshot { point } => {
                // What is committed stays so: the data is as good as from the present leader.
                self.handle_snapshot(point);
                self.send(from, Body::NewerTerm);
            }
            Body::Propose { id, .. } => self.send(from, Body::ProposeRefused { id }),
            Body::ReadIndexResponse { context, index } => self.handle_read_answer(context, index),
            Body::ProposeRefused { id } => self.requests.refused.push(id),
            _ => {}
        }
    }

    /// The leader of the current term has spoken.
    fn hear_leader(&mut self, from: MemberId, term: u64) -> Result<(), StepError> {
        match (self.role, self.leader) {
            (Role::Leader, _) => {
                return Err(StepError::TwoLeaders {
                    from,
                    leader: self.config.id,
                    term,
                });
            }
            (_, Some(leader)) if leader != from => {
                return Err(StepError::TwoLeaders { from, leader, term });
            }
            (Role::Follower, Some(_)) => {}
            (Role::Follower, None) => self.set_leader(Some(from)),
            (Role::PreCandidate | Role::Candidate, _) => self.become_follower(term, Some(from)),
        }
        self.election.elapsed = 0;
        Ok(())
    }

    fn dispatch(&mut self, from: MemberId, body: Body) -> Result<(), StepError> {
        match body {
            Body::PreVote { .. } => unreachable!("pre-votes are handled before terms"),
            Body::PreVoteResponse {
                campaign_term,
                granted,
            } => {
                if self.role == Role::PreCandidate && campaign_term == self.hard.term + 1 {
                    self.count_vote(from, granted);
                }
            }
            Body::Vote { last, .. } => self.handle_vote(from, last),
            Body::VoteResponse { granted } => {
                // Before the own term is durable no request has left, so this answers nothing.
                if self.role == Role::Candidate && self.writes.is_term_durable() {
                    self.count_vote(from, granted);
                }
            }
            Body::Append {
                previous,
                entries,
                commit,
            } => {
                return self.handle_append(
                    from,
                    Appended {
                        previous,
                        entries: &entries,
                        commit,
                    },
                );
            }
            Body::Heartbeat { round } => {
                let (commit, matched) = (self.hard.commit, self.following.matched);
                self.send(
                    from,
                    Body::HeartbeatResponse {
                        round,
                        commit,
                        matched,
                    },
                );
            }
            Body::Commit { point } => {
                if self.log.term(point.index) == Some(point.term) {
                    self.commit_to(point.index);
                }
            }
            Body::Snapshot { point } => self.handle_snapshot(point),
            Body::TimeoutNow => self.handle_timeout_now(),
            Body::ReadIndex { context } => self.handle_read_question(from, context),
            Body::ReadIndexResponse { context, index } => self.handle_read_answer(context, index),
            Body::Propose { id, kind, data } => self.handle_proposal(from, id, kind, data),
            Body::ProposeRefused { id } => self.requests.refused.push(id),
            Body::NewerTerm => {}
            Body::AppendResponse { .. }
            | Body::AppendRejected { .. }
            | Body::HeartbeatResponse { .. } => return self.dispatch_to_leader(from, &body),
        }
        Ok(())
    }

    fn dispatch_to_leader(&mut self, from: MemberId, body: &Body) -> Result<(), StepError> {
        if self.role != Role::Leader {
            return Ok(());
        }
        if let Some(progress) = self.leading.progress.get_mut(&from) {
            progress.active = true;
        }
        match *body {
            Body::AppendResponse { index } => self.handle_acknowledgement(from, index),
            Body::AppendRejected { previous, hint } => {
                self.handle_rejection(from, previous, hint);
                Ok(())
            }
            Body::HeartbeatResponse {
                round,
                commit,
                matched,
            } => {
                self.handle_heartbeat_answer(from, round, commit, matched);
                Ok(())
            }
            _ => unreachable!("only answers to a leader come here"),
        }
    }
}

/// Refuses what cannot come from an honest peer, before anything is changed.
fn check(message: &Message, own: MemberId) -> Result<(), StepError> {
    let from = message.from;
    let malformed = |what| Err(StepError::Malformed { from, what });
    if message.to != own {
        return Err(StepError::WrongRecipient { to: message.to });
    }
    if from == 0 || from == own {
        return malformed("sender");
    }
    if message.term == 0 || message.term > MAX_PLAUSIBLE {
        // Term 0 has no leader and no vote; only the first pre-vote of a new cluster is asked in it.
        if message.term != 0 || !is_possible_in_term_0(&message.body) {
            return malformed("term");
        }
    }
    match &message.body {
        Body::Append {
            previous,
            entries,
            commit,
        } => {
            if previous.index > MAX_PLAUSIBLE || *commit > MAX_PLAUSIBLE {
                return malformed("index");
            }
            if !is_point(*previous) || previous.term > message.term {
                return malformed("previous point");
            }
            let mut before = *previous;
            for entry in entries.iter() {
                if entry.index != before.index + 1 {
                    return malformed("entries with a gap");
                }
                if entry.term < before.term || entry.term > message.term || entry.term == 0 {
                    return malformed("terms of entries");
                }
                before = entry.point();
            }
        }
        Body::Snapshot { point }
            if point.point.index == 0
                || point.point.index > MAX_SNAPSHOT_INDEX
                || !is_point(point.point)
                || point.point.term > message.term =>
        {
            return malformed("snapshot point");
        }
        Body::AppendRejected { previous, .. } if *previous > MAX_PLAUSIBLE => {
            return malformed("index");
        }
        Body::ReadIndexResponse { index, .. } if *index > MAX_PLAUSIBLE => {
            return malformed("index");
        }
        Body::Commit { point } if !is_point(*point) => return malformed("committed point"),
        Body::Propose {
            kind: crate::EntryKind::Empty,
            ..
        } => return malformed("proposal kind"),
        _ => {}
    }
    Ok(())
}

/// Only the empty log ends at index 0 and in term 0.
fn is_point(point: LogPoint) -> bool {
    (point.index == 0) == (point.term == 0)
}

fn is_possible_in_term_0(body: &Body) -> bool {
    matches!(body, Body::PreVote { .. } | Body::PreVoteResponse { .. })
}
