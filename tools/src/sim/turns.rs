//! A member's turn, and what becomes of what it gives out.

use super::options::{MICROSECOND, MILLISECOND};
use super::world::{Event, Fetch, World};
use super::{Checked, finding};
use reeve_node::Turn;
use reeve_raft::MemberId;
use std::sync::Arc;

impl World {
    /// Lets a member take a turn, and does what it asks.
    pub(crate) fn settle(&mut self, id: MemberId) -> Checked {
        let now = self.now;
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        if !member.is_active(now) {
            return Ok(());
        }
        let local_ms = member.local_ms(now);
        let Some(running) = &mut member.running else {
            return Ok(());
        };
        member.medium.advance_to(now);
        let now_ms = local_ms;
        if let Err(error) = running.node.turn(now_ms, &mut running.turn) {
            return self.stopped(id, &error.to_string());
        }
        if member.trouble.blown.get() {
            // Nothing of this turn has left the member.
            self.summary.count("fuses");
            self.crash(id);
            return Ok(());
        }
        running.follow_store();
        let mut turn = std::mem::take(&mut running.turn);
        let outcome = self.take_turn(id, &mut turn);
        let running = self.members.get_mut(&id);
        if let Some(running) = running.and_then(|member| member.running.as_mut()) {
            running.turn = turn;
        }
        outcome
    }

    fn take_turn(&mut self, id: MemberId, turn: &mut Turn) -> Checked {
        self.check_turn(id, turn)?;
        for changed in turn.members.drain(..) {
            self.members_changed(id, changed)?;
        }
        for message in turn.messages.drain(..) {
            self.checks.sent(&message)?;
            self.transmit(message);
        }
        for parcel in turn.parcels.drain(..) {
            self.transmit_parcel(id, parcel);
        }
        for is_for_snapshot in [false, true] {
            self.fetch_pages(id, turn, is_for_snapshot);
        }
        self.hear(id, turn)?;
        if turn.work_left {
            self.schedule(20 * MICROSECOND, Event::Work(id));
        }
        for answered in turn.answers.drain(..) {
            self.answer(id, answered);
        }
        for number in turn.reads.drain(..) {
            self.answer_read(id, number)?;
        }
        for request in turn.refused.drain(..) {
            self.park(id, request.sequence);
        }
        for (number, answer) in turn.lease_answers.drain(..) {
            self.answer_lease(number, answer);
        }
        Ok(())
    }

    /// Takes what a member has to say to its operator.
    fn hear(&mut self, id: MemberId, turn: &mut Turn) -> Checked {
        for report in turn.reports.drain(..) {
            if report.starts_with("installed") {
                self.summary.count("snapshots installed");
            }
        }
        let trouble = &self.members[&id].trouble;
        let is_unwell = trouble.is_full(self.now) || trouble.has_failed.get();
        for notice in turn.notices.drain(..) {
            if notice.starts_with("this member's disk is slow") {
                self.summary.count("leaders that gave way");
            } else if notice.starts_with("the disk is full") && is_unwell {
                self.summary
                    .count("members that say that their disk is full");
            } else if notice.contains("cannot be stored") && is_unwell {
                self.summary.count("snapshots that a disk refused");
            } else {
                return Err(finding!("member {id} has something to say: {notice}"));
            }
        }
        Ok(())
    }

    fn fetch_pages(&mut self, id: MemberId, turn: &mut Turn, is_for_snapshot: bool) {
        let faults = match is_for_snapshot {
            false => std::mem::take(&mut turn.faults),
            true => std::mem::take(&mut turn.snapshot_faults),
        };
        let member = &self.members[&id];
        let (life, Some(running)) = (member.life, &member.running) else {
            return;
        };
        if faults.is_empty() {
            return;
        }
        let fetch = Fetch {
            id,
            life,
            space: Arc::clone(&running.space),
            faults,
            is_for_snapshot,
        };
        let delay = self.random.between(50 * MICROSECOND, 3 * MILLISECOND);
        self.schedule(delay, Event::Pages(fetch));
    }

    fn check_turn(&mut self, id: MemberId, turn: &mut Turn) -> Checked {
        let published: Vec<_> = turn.published.drain(..).collect();
        for published in &published {
            self.log.publish(id, published, self.now)?;
            self.tell_watchers(id, published)?;
        }
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let Some(running) = &member.running else {
            return Ok(());
        };
        let raft = running.node.consensus();
        self.checks.committed(raft, member.checked)?;
        member.checked = raft.commit_index();
        let state = running.node.state();
        if running.node.status().applied == state.applied_index {
            self.checks.state(id, state)?;
            if state.applied_index.is_multiple_of(16) && state.applied_index > member.hashed {
                member.hashed = state.applied_index;
                self.compare_store(id, state.applied_index)?;
            }
        }
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let Some(running) = &member.running else {
            return Ok(());
        };
        let raft = running.node.consensus();
        self.summary.note(&[
            self.now,
            id,
            raft.term(),
            raft.commit_index(),
            raft.last_point().index,
            state.applied_index,
            member.medium.operations(),
            turn.messages.len() as u64,
        ]);
        self.checks.memory(raft)?;
        if turn.leadership.take().is_some() {
            if self.checks.leader(raft)? {
                self.summary.count("leaders");
                self.elected.insert(id, self.now);
                self.maybe_topple(id);
            }
            self.schedule(0, Event::ProposeParked(id));
        }
        Ok(())
    }

    fn compare_store(&mut self, id: MemberId, applied: u64) -> Checked {
        let Some(running) = &self.members[&id].running else {
            return Ok(());
        };
        let hash = running.hash();
        if let Some(hash) = self.unless_rotten(id, hash)?
            && self.checks.hash(id, applied, hash)?
        {
            self.summary.count("stores compared");
        }
        Ok(())
    }
}
