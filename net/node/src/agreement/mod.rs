//! Whether the members have come to the same state, and what becomes of one that has not.
//!
//! Every applied entry goes into a running digest ([`Digest`]). At intervals the leader asks all members for theirs at an
//! entry that it has just applied; whoever has not come so far answers when it gets there. A digest that more than half of the
//! voters have is right. Whoever has another one is named to all members, and fences itself ([`suspicion`]): not because
//! it was told to, but once more than half of the voters have told it themselves that theirs is another one. So no single
//! member, and no fewer members than it takes to commit an entry, can stop one that agrees with the others.
//!
//! An alarm of the cluster remembers who was named ([`alarm`]). If no digest has such a majority, nobody can be named and nobody
//! is stopped; but as nobody can say which members are right, none of them writes until that is clear.
//!
//! Questions, replies and findings may be lost, repeated and late: what a digest at an entry is never changes.

mod alarm;
mod digests;
mod suspicion;
mod words;

pub(crate) use digests::RecentDigests;
pub(crate) use words::{
    Finding, KIND_FINDING, KIND_QUESTION, KIND_REPLY, KIND_VERDICT, Question, Reply,
};

use crate::node::{Node, Turn};
use crate::parcel::enclose;
use crate::{NodeError, Parcel};
use digests::Answers;
use reeve_engine::command::ALARM_FORMAT;
use reeve_engine::disk::Disk;
use reeve_engine::mvcc::{Digest, State};
use reeve_raft::MemberId;
use std::collections::{BTreeMap, BTreeSet};
use suspicion::Suspicion;

/// Ticks after which a member that has not answered is left out of a comparison.
const PATIENCE_TICKS: u64 = 20;

/// Ticks after which those are asked again who have not answered.
const AGAIN_TICKS: u64 = 2;

/// Stands for members that differ where no majority says which of them is right (etcd's sign).
const UNKNOWN_MEMBER: MemberId = 0;

/// What this member, as the leader, has found last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// It has not compared, or too few have answered.
    #[default]
    Unknown,
    /// More than half of the voters have the same digest.
    Majority,
    /// Members differ, and no digest has a majority.
    Undecided,
}

/// What is known of the agreement.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    tick: u64,
    /// The tick of the next comparison.
    due: u64,
    /// The comparison that this leader makes.
    comparison: Option<Comparison>,
    /// What it has found last.
    standing: Standing,
    /// The voters that it has found to differ from each other, without a majority.
    split: BTreeSet<MemberId>,
    /// Those of which an operator has said since that the cluster shall go on with them.
    accepted: BTreeSet<MemberId>,
    /// At which entry others want to know this member's digest.
    asked: BTreeMap<MemberId, u64>,
    /// What this member has answered.
    answers: Answers,
    /// Members that differ from the majority.
    differing: BTreeSet<MemberId>,
    /// This member is said to differ, and asks the others whether that is so.
    suspicion: Option<Suspicion>,
    /// The tick from which on alarms that are missing are proposed (again).
    alarms_due: u64,
    /// This member must not go on.
    fence: Option<Fence>,
    /// Lines for the operator.
    told: Vec<String>,
}

/// Why a member must not go on.
#[derive(Clone, Copy, Debug)]
struct Fence {
    index: u64,
    /// That of the majority.
    digest: Digest,
}

#[derive(Debug)]
struct Comparison {
    index: u64,
    begun: u64,
    /// The tick from which on those are asked (again) who have not answered.
    due: u64,
    digests: BTreeMap<MemberId, Digest>,
    /// Whom it has named so far.
    named: BTreeSet<MemberId>,
}

/// The digest that more than half of the voters have.
fn majority(digests: &BTreeMap<MemberId, Digest>, voters: &[MemberId]) -> Option<Digest> {
    let of_voters = || voters.iter().filter_map(|voter| digests.get(voter));
    let has_majority =
        |digest: &&Digest| of_voters().filter(|other| other == digest).count() > voters.len() / 2;
    of_voters().find(has_majority).copied()
}

/// Whether two digests can be compared and are not the same.
fn differ(one: Digest, other: Digest) -> bool {
    one.since == other.since && one.value != other.value
}

impl Comparison {
    /// The voters that differ from each other, if so many have answered that a majority would have shown itself if they
    /// agreed. What a learner says, or few of many, is no reason to doubt the rest.
    fn split(&self, voters: &[MemberId]) -> BTreeSet<MemberId> {
        let known = |voter: &MemberId| Some((*voter, *self.digests.get(voter)?));
        let answered: Vec<(MemberId, Digest)> = voters.iter().filter_map(known).collect();
        if answered.len() <= voters.len() / 2 {
            return BTreeSet::new();
        }
        let differs = |(_, one): &&(MemberId, Digest)| {
            let mut others = answered.iter();
            others.any(|(_, other)| differ(*one, *other))
        };
        let differing = answered.iter().filter(differs);
        differing.map(|(voter, _)| *voter).collect()
    }

    /// Who has this digest, and who has another one.
    fn sides(&self, digest: Digest) -> (Vec<MemberId>, Vec<MemberId>) {
        let which = |wanted: fn(Digest, Digest) -> bool| {
            let members = self.digests.iter();
            let members = members.filter(|(_, other)| wanted(**other, digest));
            members.map(|(member, _)| *member).collect()
        };
        (which(|one, other| one == other), which(differ))
    }
}

impl Agreement {
    pub(crate) fn tick(&mut self) {
        self.tick += 1;
    }

    /// This member's state was replaced by the leader's: what it has said of itself, and heard about itself and others, was
    /// about another one.
    pub(crate) fn forget(&mut self) {
        self.asked.clear();
        self.answers = Answers::default();
        self.suspicion = None;
        self.differing.clear();
    }
}

impl<D: Disk> Node<D> {
    /// Members whose state this member knows to differ from that of the majority; 0 among them stands for members that differ
    /// without a majority on either side. Empty while all is well. It is in memory alone: what the cluster has agreed on is
    /// among the [`alarms`](Self::alarms).
    pub fn differing_members(&self) -> impl Iterator<Item = MemberId> + '_ {
        let is_undecided = self.agreement.standing == Standing::Undecided;
        let unknown = is_undecided.then_some(UNKNOWN_MEMBER);
        let named = self.agreement.differing.iter().copied();
        unknown.into_iter().chain(named)
    }

    /// Ends a member that differs from the others.
    pub(crate) fn check_fence(&self) -> Result<(), NodeError> {
        let Some(Fence { index, digest }) = self.agreement.fence else {
            return Ok(());
        };
        Err(NodeError::Differs {
            member: self.options.member_id,
            index,
            majority: digest.value,
        })
    }

    /// Answers questions, and asks them if it is time to.
    pub(crate) fn compare(&mut self, turn: &mut Turn) {
        self.answer_questions(turn);
        self.note_ended_alarms();
        turn.notices.append(&mut self.agreement.told);
        let agreement = &mut self.agreement;
        if !agreement.differing.is_empty() {
            let members = self.raft.configuration();
            agreement.differing.retain(|it| members.contains(*it));
        }
        if !self.raft.is_leader() {
            agreement.comparison = None;
            agreement.standing = Standing::Unknown;
            agreement.accepted.clear();
            self.settle_suspicion(turn);
            return;
        }
        // A leader asks all the others by itself.
        agreement.suspicion = None;
        if agreement.comparison.is_some() {
            self.judge(turn);
        } else if self.options.agreement_ticks > 0 && agreement.tick >= agreement.due {
            agreement.due = agreement.tick + self.options.agreement_ticks;
            self.ask(turn);
        }
        self.keep_alarms(turn);
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
            if let Some(digest) = self.own_digest(index) {
                let reply = Reply { index, digest };
                turn.parcels.push(parcel(from, KIND_REPLY, &reply.encode()));
                self.agreement.answers.note(reply);
            }
        }
        self.agreement.asked = asked;
    }

    /// The own digest at an entry, as it was told or as it is remembered.
    fn own_digest(&self, index: u64) -> Option<Digest> {
        let told = self.agreement.answers.at(index);
        told.or_else(|| self.pipeline.digest_at(index))
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
        let before = turn.parcels.len();
        turn.parcels.extend(
            self.other_members()
                .map(|it| parcel(it, KIND_QUESTION, &question)),
        );
        if turn.parcels.len() == before {
            // Whoever is alone agrees with itself.
            self.agreement.standing = Standing::Majority;
            return;
        }
        self.agreement.answers.note(Reply { index, digest });
        self.agreement.comparison = Some(Comparison {
            index,
            begun: self.agreement.tick,
            due: self.agreement.tick + AGAIN_TICKS,
            digests: BTreeMap::from([(own, digest)]),
            named: BTreeSet::new(),
        });
    }

    fn other_members(&self) -> impl Iterator<Item = MemberId> + '_ {
        let own = self.options.member_id;
        let members = self.raft.configuration().members();
        members.filter(move |member| *member != own)
    }

    /// Looks what the members have answered so far.
    fn judge(&mut self, turn: &mut Turn) {
        let Some(mut comparison) = self.agreement.comparison.take() else {
            return;
        };
        let configuration = self.raft.configuration();
        let all_have_answered = configuration
            .members()
            .all(|member| comparison.digests.contains_key(&member));
        let is_over = all_have_answered || self.agreement.tick - comparison.begun >= PATIENCE_TICKS;
        let voters = configuration.voters();
        match majority(&comparison.digests, voters) {
            Some(digest) => {
                self.agreement.standing = Standing::Majority;
                self.agreement.accepted.clear();
                self.name_differing(&mut comparison, digest, turn);
            }
            None if is_over => {
                let split = comparison.split(voters);
                self.note_split(&comparison, split, turn);
            }
            None => {}
        }
        if is_over {
            let is_settled =
                self.agreement.standing != Standing::Undecided && comparison.named.is_empty();
            if !is_settled {
                // Whoever was silent may answer soon, and what was found may have been lost on its way.
                let soon = self.agreement.tick + PATIENCE_TICKS;
                self.agreement.due = self.agreement.due.min(soon);
            }
            return;
        }
        if self.agreement.tick >= comparison.due {
            comparison.due = self.agreement.tick + AGAIN_TICKS;
            let index = comparison.index;
            let question = Question { index }.encode();
            let silent = self
                .other_members()
                .filter(|member| !comparison.digests.contains_key(member));
            turn.parcels
                .extend(silent.map(|it| parcel(it, KIND_QUESTION, &question)));
        }
        self.agreement.comparison = Some(comparison);
    }

    /// Takes note of voters that differ without a majority.
    fn note_split(&mut self, comparison: &Comparison, split: BTreeSet<MemberId>, turn: &mut Turn) {
        let agreement = &mut self.agreement;
        if split.is_subset(&agreement.accepted) {
            return;
        }
        agreement.split = split;
        let was = std::mem::replace(&mut agreement.standing, Standing::Undecided);
        // Told once, though it is found again and again.
        if was != Standing::Undecided {
            turn.notices.push(format!(
                "members differ from each other at entry {}, and no majority of them agrees, so that nobody can say which are \
                 right: {}",
                comparison.index,
                shown(&comparison.digests)
            ));
        }
    }

    /// Names the members that have another digest than the majority.
    fn name_differing(&mut self, comparison: &mut Comparison, digest: Digest, turn: &mut Turn) {
        let (agreeing, differing) = comparison.sides(digest);
        // Once in each comparison, not once for ever: a finding may be lost on its way to the one that it is about.
        let is_told = differing.iter().all(|it| comparison.named.contains(it));
        if is_told {
            return;
        }
        comparison.named.extend(differing.iter().copied());
        let finding = Finding {
            index: comparison.index,
            digest,
            agreeing: Some(agreeing),
            differing,
        };
        self.tell(&finding, turn);
        let own = self.options.member_id;
        self.note_differing(own, &finding);
        if finding.differing.contains(&own) {
            // It has asked them itself.
            let index = finding.index;
            self.agreement.fence = Some(Fence { index, digest });
        }
        turn.work_left = true;
    }

    /// Tells all members, each in the words that it understands.
    fn tell(&self, finding: &Finding, turn: &mut Turn) {
        let (with_names, verdict) = (finding.encode(), finding.encode_verdict());
        let records = &self.member_records().members;
        let others = self.other_members().map(|member| {
            let format = records.get(&member).map_or(0, |record| record.format);
            match format >= ALARM_FORMAT {
                true => parcel(member, KIND_FINDING, &with_names),
                false => parcel(member, KIND_VERDICT, &verdict),
            }
        });
        turn.parcels.extend(others);
    }

    /// Takes a question of another member.
    pub(crate) fn take_question(&mut self, from: MemberId, question: &Question) {
        if self.raft.configuration().contains(from) {
            self.agreement.asked.insert(from, question.index);
        }
    }

    /// Takes the digest of another member.
    pub(crate) fn take_reply(&mut self, from: MemberId, reply: &Reply) {
        if !self.raft.configuration().contains(from) {
            return;
        }
        if let Some(comparison) = &mut self.agreement.comparison
            && comparison.index == reply.index
        {
            comparison.digests.insert(from, reply.digest);
        }
        if let Some(suspicion) = &mut self.agreement.suspicion {
            suspicion.take_reply(from, reply);
        }
    }

    /// Takes what the leader has found.
    pub(crate) fn take_finding(&mut self, from: MemberId, finding: &Finding) {
        // Only a leader compares; and it must name a majority, if it names anybody.
        if self.raft.leader() != Some(from) || !self.names_majority(finding) {
            return;
        }
        self.note_differing(from, finding);
        if finding.differing.contains(&self.options.member_id) {
            self.suspect(from, finding);
        }
    }

    /// Whether those who agree, by this finding, are more than half of the voters, as this member knows them. A verdict does
    /// not say.
    fn names_majority(&self, finding: &Finding) -> bool {
        let Some(agreeing) = &finding.agreeing else {
            return true;
        };
        let own = self.options.member_id;
        let voters = self.raft.configuration().voters();
        let named = voters.iter().filter(|voter| agreeing.contains(voter));
        let contradicts = agreeing
            .iter()
            .any(|member| finding.differing.contains(member));
        let known = self.own_digest(finding.index);
        let is_misled =
            agreeing.contains(&own) && known.is_some_and(|known| known != finding.digest);
        named.count() > voters.len() / 2 && !contradicts && !is_misled
    }

    /// Takes note of others that differ.
    fn note_differing(&mut self, from: MemberId, finding: &Finding) {
        let own = self.options.member_id;
        let members = self.raft.configuration();
        for member in &finding.differing {
            let is_other = *member != own && members.contains(*member);
            if is_other && self.agreement.differing.insert(*member) {
                self.agreement.told.push(format!(
                    "member {member:x} differs from the majority of the members at entry {}, as member {from:x} has found: it \
                     must be rebuilt",
                    finding.index
                ));
            }
        }
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
