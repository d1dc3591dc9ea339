//! What a member knows of its own digests.

use super::words::Reply;
use reeve_engine::mvcc::{Digest, State};
use std::collections::VecDeque;

/// Digests of the entries applied last: of so many that one turn does not outrun a question.
const REMEMBERED: usize = 8192;

/// Answers that are remembered. Under load an entry is soon outrun, and one comparison asks about the same entry twice:
/// first its leader does, then whoever is said to differ.
const ANSWERS: usize = 8;

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

/// What this member has answered, or asked about, last.
#[derive(Debug, Default)]
pub(super) struct Answers(VecDeque<Reply>);

impl Answers {
    /// Takes note of an answer.
    pub(super) fn note(&mut self, reply: Reply) {
        if self.at(reply.index).is_some() {
            return;
        }
        if self.0.len() == ANSWERS {
            self.0.pop_front();
        }
        self.0.push_back(reply);
    }

    /// The digest that was told at an entry.
    pub(super) fn at(&self, index: u64) -> Option<Digest> {
        let mut replies = self.0.iter();
        let found = replies.find(|reply| reply.index == index);
        found.map(|reply| reply.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(applied_index: u64) -> State {
        State {
            applied_index,
            digest: Digest {
                since: 3,
                value: applied_index * 10,
            },
            ..State::default()
        }
    }

    #[test]
    fn only_what_was_applied_not_long_ago_is_known() {
        let mut recent = RecentDigests::new(&state(5));
        let last = 5 + REMEMBERED as u64;
        (6..=last).for_each(|index| recent.note(&state(index)));
        let known = |index| recent.at(index).map(|digest| digest.value);
        assert_eq!(known(5), None);
        assert_eq!(known(6), Some(60));
        assert_eq!(known(last), Some(last * 10));
        assert_eq!(known(last + 1), None);
    }

    #[test]
    fn an_answer_is_remembered_for_a_while_as_it_was_given_first() {
        let reply = |index, value| Reply {
            index,
            digest: Digest { since: 0, value },
        };
        let mut answers = Answers::default();
        answers.note(reply(1, 10));
        answers.note(reply(1, 11));
        assert_eq!(answers.at(1).map(|digest| digest.value), Some(10));
        for index in 2..=ANSWERS as u64 + 1 {
            answers.note(reply(index, 0));
        }
        assert_eq!(answers.at(1), None);
        assert!(answers.at(2).is_some());
    }
}
