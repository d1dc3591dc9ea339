//! Whether the members have come to the same state, and what becomes of one that has not.
//!
//! Every applied entry goes into a running digest ([`Digest`]). At intervals the leader asks all members for theirs at an
//! entry that it has just applied; whoever has not come so far answers when it gets there. A digest that more than half of the
//! voters have is right. Whoever has another one is named to all members, and fences itself: it has seen its own digest, so
//! that no mistaken or forged verdict can stop a member that agrees. If no digest has such a majority, nobody can be
//! named and nobody is stopped; that is told, and asked again.
//!
//! Questions, replies and verdicts may be lost, repeated and late: what a digest at an entry is never changes.

mod words;

pub(crate) use words::{KIND_QUESTION, KIND_REPLY, KIND_VERDICT, Question, Reply, Verdict};

use crate::node::{Node, Turn};
use crate::parcel::enclose;
use crate::{NodeError, Parcel};
use reeve_engine::disk::Disk;
use reeve_engine::mvcc::{Digest, State};
use reeve_raft::MemberId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Ticks after which a member that has not answered is left out of a comparison.
const PATIENCE_TICKS: u64 = 20;

/// Stands for members that differ where no majority says which of them is right (etcd's sign).
const UNKNOWN_MEMBER: MemberId = 0;

/// Digests of the entries applied last: of so many that one turn does not outrun a question.
const REMEMBERED: usize = 8192;

/// The digests at the entries that were applied last.
#[derive(Debug)]
pub(crate) struct RecentDigests {
    since: u64,
    last: u64,
    values: VecDeque<u64>,
}

impl RecentDigests {
    /// Begins with the present state.
    pub(crate) fn new(state: &State) -> Self {
        RecentDigests {
            since: state.digest.since,
            last: state.applied_index,
            values: VecDeque::from([state.digest.value]),
        }
    }

    /// Takes note of the state after one more entry.
    pub(crate) fn note(&mut self, state: &State) {
        if self.values.len() == REMEMBERED {
            self.values.pop_front();
        }
        self.last = state.applied_index;
        self.values.push_back(state.digest.value);
    }

    /// The digest at an entry, if it was applied not long ago.
    pub(crate) fn at(&self, index: u64) -> Option<Digest> {
        let back = usize::try_from(self.last.checked_sub(index)?).ok()?;
        let place = self.values.len().checked_sub(back + 1)?;
        let value = *self.values.get(place)?;
        let since = self.since;
        Some(Digest { since, value })
    }
}

/// What is known of the agreement.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    tick: u64,
    /// The tick of the next comparison.
    due: u64,
    /// The comparison that this leader makes.
    comparison: Option<Comparison>,
    /// At which entry others want to know this member's digest.
    asked: BTreeMap<MemberId, u64>,
    /// What this member has answered last.
    replied: Option<Reply>,
    /// Members that differ from the majority.
    differing: BTreeSet<MemberId>,
    /// Members differ, and none of them has a majority.
    undecided: bool,
    /// The entry of the last verdict that this leader has sent.
    verdict_at: u64,
    /// This member must not go on.
    fence: Option<Verdict>,
    /// Lines for the operator.
    told: Vec<String>,
}

#[derive(Debug)]
struct Comparison {
    index: u64,
    begun: u64,
    digests: BTreeMap<MemberId, Digest>,
}

impl Comparison {
    /// The digest that more than half of the voters have.
    fn majority(&self, voters: &[MemberId]) -> Option<Digest> {
        let of_voters = || voters.iter().filter_map(|voter| self.digests.get(voter));
        let has_majority = |digest: &&Digest| {
            of_voters().filter(|other| other == digest).count() > voters.len() / 2
        };
        of_voters().find(has_majority).copied()
    }

    /// Whether two members differ that can be compared.
    fn is_split(&self) -> bool {
        let all = || self.digests.values();
        let differ = |one: &Digest, other: &Digest| one.since == other.since && one != other;
        all().any(|one| all().any(|other| differ(one, other)))
    }
}

impl Agreement {
    pub(crate) fn tick(&mut self) {
        self.tick += 1;
    }
}

impl<D: Disk> Node<D> {
    /// Members whose state is known to differ from that of the majority; 0 among them stands for members that differ without a
    /// majority on either side. Empty while all is well.
    pub fn differing_members(&self) -> impl Iterator<Item = MemberId> + '_ {
        let unknown = self.agreement.undecided.then_some(UNKNOWN_MEMBER);
        let named = self.agreement.differing.iter().copied();
        unknown.into_iter().chain(named)
    }

    /// Ends a member that differs from the others.
    pub(crate) fn check_fence(&self) -> Result<(), NodeError> {
        let Some(verdict) = &self.agreement.fence else {
            return Ok(());
        };
        Err(NodeError::Differs {
            member: self.options.member_id,
            index: verdict.index,
            majority: verdict.digest.value,
        })
    }

    /// Answers questions, and asks them if it is time to.
    pub(crate) fn compare(&mut self, turn: &mut Turn) {
        self.answer_questions(turn);
        turn.notices.append(&mut self.agreement.told);
        let agreement = &mut self.agreement;
        if !agreement.differing.is_empty() {
            let members = self.raft.configuration();
            agreement.differing.retain(|it| members.contains(*it));
        }
        if !self.raft.is_leader() {
            agreement.comparison = None;
            agreement.undecided = false;
            return;
        }
        if agreement.comparison.is_some() {
            self.judge(turn);
        } else if self.options.agreement_ticks > 0 && agreement.tick >= agreement.due {
            agreement.due = agreement.tick + self.options.agreement_ticks;
            self.ask(turn);
        }
    }

    fn answer_questions(&mut self, turn: &mut Turn) {
        if self.agreement.asked.is_empty() {
            return;
        }
        let applied = self.pipeline.applier().state().applied_index;
        let ready = |index: &u64| *index <= applied;
        let mut asked = std::mem::take(&mut self.agreement.asked);
        for (from, index) in asked.extract_if(.., |_, index| ready(index)) {
            // One that was applied long ago is asked for in vain: the next question will be about a later one.
            if let Some(digest) = self.pipeline.digest_at(index) {
                let reply = Reply { index, digest };
                turn.parcels.push(parcel(from, KIND_REPLY, &reply.encode()));
                self.agreement.replied = Some(reply);
            }
        }
        self.agreement.asked = asked;
    }

    /// Begins a comparison.
    fn ask(&mut self, turn: &mut Turn) {
        let own = self.options.member_id;
        let State {
            applied_index: index,
            digest,
            ..
        } = self.pipeline.applier().state();
        let question = Question { index }.encode();
        let others = self.raft.configuration().members();
        let others = others.filter(|member| *member != own);
        let before = turn.parcels.len();
        turn.parcels
            .extend(others.map(|member| parcel(member, KIND_QUESTION, &question)));
        if turn.parcels.len() == before {
            return;
        }
        self.agreement.replied = Some(Reply { index, digest });
        self.agreement.comparison = Some(Comparison {
            index,
            begun: self.agreement.tick,
            digests: BTreeMap::from([(own, digest)]),
        });
    }

    /// Looks what the members have answered so far.
    fn judge(&mut self, turn: &mut Turn) {
        let Some(comparison) = self.agreement.comparison.take() else {
            return;
        };
        let configuration = self.raft.configuration();
        let all_have_answered = configuration
            .members()
            .all(|member| comparison.digests.contains_key(&member));
        let is_over = all_have_answered || self.agreement.tick - comparison.begun >= PATIENCE_TICKS;
        match comparison.majority(configuration.voters()) {
            Some(digest) => {
                self.agreement.undecided = false;
                self.name_differing(&comparison, digest, turn);
            }
            None if is_over && comparison.is_split() => {
                self.agreement.undecided = true;
                turn.notices.push(format!(
                    "members differ from each other at entry {}, and no majority of them agrees, so that nobody can say which \
                     are right: {}",
                    comparison.index,
                    shown(&comparison.digests)
                ));
            }
            None => {}
        }
        if !is_over {
            self.agreement.comparison = Some(comparison);
        }
    }

    /// Names the members that have another digest than the majority.
    fn name_differing(&mut self, comparison: &Comparison, digest: Digest, turn: &mut Turn) {
        let others = comparison.digests.iter();
        let differing: BTreeSet<MemberId> = others
            .filter(|(_, other)| other.since == digest.since && other.value != digest.value)
            .map(|(member, _)| *member)
            .collect();
        // Once for each comparison, not once for ever: a verdict may be lost on its way to the one that it is about.
        let is_told = self.agreement.verdict_at == comparison.index;
        if differing.is_empty() || is_told {
            return;
        }
        self.agreement.verdict_at = comparison.index;
        let verdict = Verdict {
            index: comparison.index,
            digest,
            differing: differing.iter().copied().collect(),
        };
        let own = self.options.member_id;
        let body = verdict.encode();
        let others = self.raft.configuration().members();
        let others = others.filter(|member| *member != own);
        turn.parcels
            .extend(others.map(|member| parcel(member, KIND_VERDICT, &body)));
        self.note_verdict(own, verdict);
        turn.work_left = true;
    }

    /// Takes a question of another member.
    pub(crate) fn take_question(&mut self, from: MemberId, question: &Question) {
        if self.raft.configuration().contains(from) {
            self.agreement.asked.insert(from, question.index);
        }
    }

    /// Takes the digest of another member.
    pub(crate) fn take_reply(&mut self, from: MemberId, reply: &Reply) {
        if let Some(comparison) = &mut self.agreement.comparison
            && comparison.index == reply.index
            && self.raft.configuration().contains(from)
        {
            comparison.digests.insert(from, reply.digest);
        }
    }

    /// Takes what the leader has found.
    pub(crate) fn take_verdict(&mut self, from: MemberId, verdict: Verdict) {
        // Only a leader compares.
        if self.raft.leader() == Some(from) {
            self.note_verdict(from, verdict);
        }
    }

    fn note_verdict(&mut self, from: MemberId, verdict: Verdict) {
        let own = self.options.member_id;
        for member in &verdict.differing {
            if *member != own && self.agreement.differing.insert(*member) {
                self.agreement.told.push(format!(
                    "member {member:x} differs from the majority of the members at entry {}, as member {from:x} has found: it \
                     must be rebuilt",
                    verdict.index
                ));
            }
        }
        if verdict.differing.contains(&own) && self.has_differed(&verdict) {
            self.agreement.fence = Some(verdict);
        }
    }

    /// Whether this member really has, or had, another digest at that entry.
    fn has_differed(&self, verdict: &Verdict) -> bool {
        let replied = self.agreement.replied.as_ref();
        let replied = replied.filter(|reply| reply.index == verdict.index);
        let known = replied.map(|reply| reply.digest);
        let own = known.or_else(|| self.pipeline.digest_at(verdict.index));
        own.is_some_and(|own| own.since == verdict.digest.since && own != verdict.digest)
    }
}

fn parcel(to: MemberId, kind: u8, body: &[u8]) -> Parcel {
    Parcel {
        to,
        bulk: false,
        bytes: enclose(kind, body),
    }
}

fn shown(digests: &BTreeMap<MemberId, Digest>) -> String {
    let one = |(member, digest): (&MemberId, &Digest)| format!("{member:x}: {:016x}", digest.value);
    digests.iter().map(one).collect::<Vec<_>>().join(", ")
}
