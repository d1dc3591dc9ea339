//! Questions about leases, which only the leader can answer, asked on any member.
//!
//! A member that does not lead asks the leader by parcel, and asks again when nothing comes or the leader changes. The
//! leader first puts the lease's end off, and then makes sure by a round of heartbeats that it still leads: whoever leads
//! next was elected after that round began, so that it gives the lease its whole life from a later moment on. By then
//! everything of earlier terms is applied too, and a lease that one of them has ended is not said to live.

mod wire;

pub(crate) use wire::{KIND_LEASE_ANSWERS, KIND_LEASE_QUESTIONS};

use crate::node::{Node, Turn};
use crate::parcel::{Parcel, ParcelError, enclose};
use reeve_engine::disk::Disk;
use reeve_engine::lease::Renewal;
use reeve_raft::{MemberId, ReadId};
use std::collections::BTreeMap;

/// Reads of the host have ids below this one; the rounds that confirm leadership have ids from here on.
pub(crate) const FIRST_ROUND: ReadId = 1 << 63;

/// Questions that wait here at most, and at the leader for one member.
const MAX_WAITING: usize = 1 << 16;

/// After so many ticks a question is asked again: it or its answer may be lost.
const ASK_AGAIN_TICKS: u64 = 3;

/// A question that waits longer than so many election timeouts is forgotten: nobody waits any more.
const PATIENCE: u32 = 20;

/// What a client wants of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseQuestion {
    /// That it lives on.
    KeepAlive(i64),
    /// To know how long it lives.
    TimeToLive(i64),
}

impl LeaseQuestion {
    fn lease(self) -> i64 {
        match self {
            LeaseQuestion::KeepAlive(id) | LeaseQuestion::TimeToLive(id) => id,
        }
    }
}

/// What the leader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// It lives on for so many seconds. 0: it does not exist, or its end is committed.
    KeptAlive(i64),
    /// Seconds granted, and seconds left (negative while its end is not committed yet); `None` if it does not exist.
    TimeToLive(Option<(i64, i64)>),
}

/// Too many questions wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_WAITING} questions about leases wait already")]
pub struct TooManyQuestions;

/// Who is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asker {
    /// A question of this member, by number.
    Here(u64),
    /// One of another member, by the number it has there.
    Peer(MemberId, u64),
}

/// A question that was asked here and is not answered.
#[derive(Debug)]
struct Open {
    /// The host's name for it.
    name: u64,
    question: LeaseQuestion,
    since: u64,
    /// The tick at which the leader was asked last; `None` while it is still to be asked.
    asked: Option<u64>,
}

/// A question that this member answers as leader.
#[derive(Clone, Copy, Debug)]
struct Asked {
    asker: Asker,
    question: LeaseQuestion,
    /// Seconds for which the lease was renewed.
    renewed: Option<i64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct LeaseQuestions {
    open: BTreeMap<u64, Open>,
    /// Open ones that the leader is still to be asked.
    due: Vec<u64>,
    next_number: u64,
    ticks: u64,
    patience: u64,
    /// What is to be looked at with the next turn.
    arrived: Vec<Asked>,
    /// What waits for a round, by the round's id.
    rounds: BTreeMap<ReadId, Vec<Asked>>,
    next_round: ReadId,
    /// Keepalives that wait for the end of their lease.
    ending: BTreeMap<Asker, LeaseQuestion>,
    /// Leases have come or gone since `ending` was looked through.
    has_changed: bool,
    /// Answers that have come by parcel.
    answered: Vec<(u64, LeaseAnswer)>,
}

impl LeaseQuestions {
    /// Numbers begin with a part that follows from the incarnation, so that a late answer to what an earlier process has
    /// asked is not taken for one to this process.
    pub(crate) fn new(incarnation: u64, election_ticks: u32) -> Self {
        let mixed = incarnation.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        LeaseQuestions {
            open: BTreeMap::new(),
            due: Vec::new(),
            next_number: mixed & !u64::from(u32::MAX) | 1,
            ticks: 0,
            patience: u64::from(election_ticks.saturating_mul(PATIENCE)),
            arrived: Vec::new(),
            rounds: BTreeMap::new(),
            next_round: FIRST_ROUND,
            ending: BTreeMap::new(),
            has_changed: false,
            answered: Vec::new(),
        }
    }

    /// A heartbeat interval has passed, on a member that leads or not. One that leads loses no question on its way.
    pub(crate) fn tick(&mut self, leads: bool) {
        self.ticks += 1;
        let oldest = self.ticks.saturating_sub(self.patience);
        self.open.retain(|_, open| open.since >= oldest);
        if leads {
            return;
        }
        for (number, open) in &mut self.open {
            let is_late = |asked| self.ticks.saturating_sub(asked) >= ASK_AGAIN_TICKS;
            if open.asked.is_some_and(is_late) {
                open.asked = None;
                self.due.push(*number);
            }
        }
    }

    /// A lease has come or gone.
    pub(crate) fn changed(&mut self) {
        self.has_changed = true;
    }

    /// Whether there are questions that the leader is still to be asked.
    pub(crate) fn are_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Whether anybody waits for the end of a lease.
    pub(crate) fn wait_for_an_end(&self) -> bool {
        !self.ending.is_empty()
    }

    /// Leadership has changed: whoever leads now is asked anew, also if it is this member.
    pub(crate) fn restart(&mut self) {
        self.arrived.clear();
        self.rounds.clear();
        self.ending.clear();
        for open in self.open.values_mut() {
            open.asked = None;
        }
        self.due = self.open.keys().copied().collect();
    }

    /// How many questions of one peer this leader works on.
    fn count_of(&self, member: MemberId) -> usize {
        let asked = self.rounds.values().flatten().chain(&self.arrived);
        let askers = asked.map(|asked| &asked.asker).chain(self.ending.keys());
        askers
            .filter(|asker| matches!(asker, Asker::Peer(peer, _) if *peer == member))
            .count()
    }

    /// Takes a question of the host in.
    fn add(&mut self, name: u64, question: LeaseQuestion) {
        let number = self.next_number;
        self.next_number += 1;
        let open = Open {
            name,
            question,
            since: self.ticks,
            asked: None,
        };
        self.open.insert(number, open);
        self.due.push(number);
    }

    /// The questions that are to be asked now; they count as asked.
    fn take_due(&mut self) -> Vec<(u64, LeaseQuestion)> {
        let mut taken = Vec::new();
        for number in std::mem::take(&mut self.due) {
            // It may be answered or forgotten by now.
            if let Some(open) = self.open.get_mut(&number) {
                open.asked = Some(self.ticks);
                taken.push((number, open.question));
            }
        }
        taken
    }

    /// The questions asked here that this member, now leader, has not looked at.
    fn take_own(&mut self) {
        for (number, question) in self.take_due() {
            self.arrived.push(Asked {
                asker: Asker::Here(number),
                question,
                renewed: None,
            });
        }
    }
}

impl<D: Disk> Node<D> {
    /// Asks something about a lease. The answer comes in [`Turn::lease_answers`] under `name`, the host's own; it never
    /// comes if no leader can be reached, or if the end of the lease cannot be committed, so the host gives up after some
    /// time.
    ///
    /// # Errors
    /// Too many questions wait already.
    pub fn ask_lease(
        &mut self,
        name: u64,
        question: LeaseQuestion,
    ) -> Result<(), TooManyQuestions> {
        let questions = &mut self.lease_questions;
        if questions.open.len() >= MAX_WAITING {
            return Err(TooManyQuestions);
        }
        questions.add(name, question);
        Ok(())
    }

    /// Begins with what has been asked since the last turn, or asks the leader.
    pub(crate) fn begin_lease_questions(&mut self, now_ms: u64, turn: &mut Turn) {
        self.give_lease_answers(turn);
        if !self.raft.is_leader() {
            if let Some(leader) = self.raft.leader() {
                self.ask_leader(leader, turn);
            }
        } else if self.lessor.is_primary() {
            self.lease_questions.take_own();
            self.look_at_leases(now_ms);
        }
    }

    fn ask_leader(&mut self, leader: MemberId, turn: &mut Turn) {
        let term = self.raft.term();
        let due = self.lease_questions.take_due();
        for questions in due.chunks(wire::MOST) {
            turn.parcels.push(Parcel {
                to: leader,
                bulk: false,
                bytes: enclose(
                    KIND_LEASE_QUESTIONS,
                    &wire::encode_questions(term, questions),
                ),
            });
        }
    }

    /// Puts the ends of leases off, and begins a round for all that may then be answered.
    fn look_at_leases(&mut self, now_ms: u64) {
        let mut asked = std::mem::take(&mut self.lease_questions.arrived);
        if std::mem::take(&mut self.lease_questions.has_changed) {
            let ending = std::mem::take(&mut self.lease_questions.ending);
            asked.extend(ending.into_iter().map(|(asker, question)| Asked {
                asker,
                question,
                renewed: None,
            }));
        }
        if asked.is_empty() {
            return;
        }
        let mut group = Vec::new();
        for mut question in asked {
            let renewal = match question.question {
                LeaseQuestion::KeepAlive(id) => self.lessor.renew(id, now_ms),
                LeaseQuestion::TimeToLive(_) => Renewal::Unknown,
            };
            question.renewed = match renewal {
                Renewal::Renewed(ttl) => Some(ttl),
                Renewal::Unknown | Renewal::NotPrimary => None,
                Renewal::Expired => {
                    let Asked {
                        asker, question, ..
                    } = question;
                    self.lease_questions.ending.insert(asker, question);
                    continue;
                }
            };
            group.push(question);
        }
        if group.is_empty() {
            return;
        }
        let id = self.lease_questions.next_round;
        if self.raft.read_index(id).is_ok() {
            self.lease_questions.next_round += 1;
            self.lease_questions.rounds.insert(id, group);
        } else {
            self.lease_questions.arrived = group;
        }
    }

    /// Takes the rounds out of the reads that are ready, and answers what has waited for them.
    pub(crate) fn end_lease_rounds(&mut self, now_ms: u64, turn: &mut Turn) {
        let ended: Vec<ReadId> = turn.reads.extract_if(.., |id| *id >= FIRST_ROUND).collect();
        let mut answers: BTreeMap<MemberId, Vec<(u64, LeaseAnswer)>> = BTreeMap::new();
        for id in ended {
            // A round of an earlier leadership is not known any more.
            let group = self.lease_questions.rounds.remove(&id);
            for asked in group.into_iter().flatten() {
                let Some(answer) = self.lease_answer(asked, now_ms) else {
                    turn.work_left = true;
                    continue;
                };
                match asked.asker {
                    Asker::Here(number) => self.take_lease_answer(number, answer, turn),
                    Asker::Peer(member, number) => {
                        answers.entry(member).or_default().push((number, answer));
                    }
                }
            }
        }
        for (to, answers) in answers {
            for answers in answers.chunks(wire::MOST) {
                turn.parcels.push(Parcel {
                    to,
                    bulk: false,
                    bytes: enclose(KIND_LEASE_ANSWERS, &wire::encode_answers(answers)),
                });
            }
        }
    }

    /// What may be answered now that this member is known to have led. `None` if the question needs another look.
    fn lease_answer(&mut self, asked: Asked, now_ms: u64) -> Option<LeaseAnswer> {
        let id = asked.question.lease();
        match asked.question {
            LeaseQuestion::KeepAlive(_) if !self.lessor.contains(id) => {
                Some(LeaseAnswer::KeptAlive(0))
            }
            LeaseQuestion::KeepAlive(_) => match asked.renewed {
                Some(ttl) => Some(LeaseAnswer::KeptAlive(ttl)),
                // It was granted in the meantime.
                None => {
                    self.lease_questions.arrived.push(asked);
                    None
                }
            },
            LeaseQuestion::TimeToLive(_) => {
                let granted = self.lessor.granted_ttl(id);
                let times = granted.zip(self.lessor.remaining_ttl(id, now_ms));
                Some(LeaseAnswer::TimeToLive(times))
            }
        }
    }

    fn take_lease_answer(&mut self, number: u64, answer: LeaseAnswer, turn: &mut Turn) {
        if let Some(open) = self.lease_questions.open.remove(&number) {
            turn.lease_answers.push((open.name, answer));
        }
    }

    /// Takes questions of another member. Those that this member cannot answer are dropped: they will be asked again.
    pub(crate) fn take_lease_questions(
        &mut self,
        from: MemberId,
        bytes: &[u8],
    ) -> Result<(), ParcelError> {
        let (term, questions) = wire::decode_questions(bytes)?;
        if !self.raft.is_leader()
            || self.raft.term() != term
            || !self.raft.configuration().contains(from)
        {
            return Ok(());
        }
        let mut room = MAX_WAITING.saturating_sub(self.lease_questions.count_of(from));
        for (number, question) in questions {
            let asker = Asker::Peer(from, number);
            // It may be asked again while it waits for the lease's end.
            if room > 0 && !self.lease_questions.ending.contains_key(&asker) {
                room -= 1;
                self.lease_questions.arrived.push(Asked {
                    asker,
                    question,
                    renewed: None,
                });
            }
        }
        Ok(())
    }

    /// Takes the leader's answers; they come out of the next turn.
    pub(crate) fn take_lease_answers(&mut self, bytes: &[u8]) -> Result<(), ParcelError> {
        let answers = wire::decode_answers(bytes)?;
        self.lease_questions.answered.extend(answers);
        Ok(())
    }

    /// Gives out the answers that have come by parcel.
    fn give_lease_answers(&mut self, turn: &mut Turn) {
        for (number, answer) in std::mem::take(&mut self.lease_questions.answered) {
            self.take_lease_answer(number, answer, turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_asked_again_under_a_new_leader_or_after_a_while() {
        let mut questions = LeaseQuestions::new(3, 10);
        questions.add(1, LeaseQuestion::KeepAlive(5));
        assert_eq!(questions.take_due().len(), 1);
        assert_eq!(questions.take_due().len(), 0);
        questions.restart();
        assert_eq!(questions.take_due().len(), 1);
        for _ in 0..ASK_AGAIN_TICKS {
            assert_eq!(questions.take_due().len(), 0);
            questions.tick(false);
        }
        assert_eq!(questions.take_due().len(), 1);
        for _ in 0..ASK_AGAIN_TICKS {
            questions.tick(true);
        }
        assert_eq!(questions.take_due().len(), 0, "a leader has it");
        for _ in 0..200 {
            questions.tick(false);
        }
        assert!(questions.open.is_empty(), "nobody waits so long");
        assert!(questions.take_due().is_empty());
    }
}
