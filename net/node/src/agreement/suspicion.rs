//! A member that is said to differ looks whether that is so.
//!
//! It does not take a leader's word: it asks the voters for their digests at that entry, and fences itself once more than half
//! of them have one and the same, and it another. If they have the one that it has, nothing was wrong with it. What is
//! lost is asked for again; and if an answer is not to be had any more, the next comparison raises the suspicion anew.

use super::words::{Finding, KIND_QUESTION, Question, Reply};
use super::{AGAIN_TICKS, Fence, PATIENCE_TICKS, differ, majority, parcel};
use crate::node::{Node, Turn};
use reeve_engine::disk::Disk;
use reeve_engine::mvcc::Digest;
use reeve_raft::MemberId;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug)]
pub(super) struct Suspicion {
    /// Who has raised it.
    from: MemberId,
    index: u64,
    /// The own digest at that entry.
    own: Digest,
    begun: u64,
    /// The tick from which on questions leave.
    due: u64,
    /// This, and what the others have told this member themselves.
    digests: BTreeMap<MemberId, Digest>,
}

impl Suspicion {
    /// Takes what a member has answered.
    pub(super) fn take_reply(&mut self, from: MemberId, reply: &Reply) {
        if reply.index == self.index {
            self.digests.insert(from, reply.digest);
        }
    }
}

impl<D: Disk> Node<D> {
    /// Begins to ask, unless this member knows already that the finding is wrong, or cannot tell.
    pub(super) fn suspect(&mut self, from: MemberId, finding: &Finding) {
        let tick = self.agreement.tick;
        // One that is being looked into is not given up for a new one: with frequent comparisons none would come to an end.
        if self.agreement.suspicion.is_some() {
            return;
        }
        let own = self.own_digest(finding.index);
        if let Some(own) = own.filter(|own| differ(*own, finding.digest)) {
            self.agreement.suspicion = Some(Suspicion {
                from,
                index: finding.index,
                own,
                begun: tick,
                due: tick,
                digests: BTreeMap::from([(self.options.member_id, own)]),
            });
        }
    }

    /// Looks what the others have answered, and asks those who have not.
    pub(super) fn settle_suspicion(&mut self, turn: &mut Turn) {
        let Some(mut suspicion) = self.agreement.suspicion.take() else {
            return;
        };
        let tick = self.agreement.tick;
        let voters = self.raft.configuration().voters();
        match majority(&suspicion.digests, voters) {
            Some(digest) if differ(digest, suspicion.own) => {
                let index = suspicion.index;
                self.agreement.fence = Some(Fence { index, digest });
                turn.work_left = true;
                return;
            }
            Some(_) => {
                turn.notices.push(format!(
                    "member {:x} says that this member differs from the majority at entry {}, and the majority says otherwise: \
                     look after member {:x}",
                    suspicion.from, suspicion.index, suspicion.from
                ));
                return;
            }
            None => {}
        }
        if tick - suspicion.begun >= PATIENCE_TICKS {
            return;
        }
        if tick >= suspicion.due {
            suspicion.due = tick + AGAIN_TICKS;
            let index = suspicion.index;
            let question = Question { index }.encode();
            let silent = voters
                .iter()
                .filter(|voter| !suspicion.digests.contains_key(*voter));
            turn.parcels
                .extend(silent.map(|voter| parcel(*voter, KIND_QUESTION, &question)));
        }
        self.agreement.suspicion = Some(suspicion);
    }
}
