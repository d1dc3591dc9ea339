//! Reads that wait to learn their index (ReadIndex, thesis section 6.4).

use std::collections::VecDeque;

use crate::message::ReadContext;
use crate::output::ReadReady;
use crate::{MemberId, ReadId};

/// Rounds, or forwarded groups, that may be open at once; reads beyond wait for one of them to end.
pub(crate) const MAX_OPEN_ROUNDS: usize = 8;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Local(ReadId),
    Peer(MemberId, ReadContext),
}

/// Reads that share one exchange of heartbeats.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) number: u64,
    /// The commit index when the round began.
    pub(crate) index: u64,
    /// Time before any of its heartbeats left.
    pub(crate) began: u64,
    pub(crate) readers: Vec<Reader>,
}

/// Reads that a follower has passed on.
#[derive(Debug)]
struct Forwarded {
    number: u64,
    age_ticks: u32,
    readers: Vec<Reader>,
}

/// All reads of one member, in whatever role it is. A read joins only a round, or a forwarded group,
/// that is sent after it arrived, and no number is ever used twice by a process.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    waiting: Vec<Reader>,
    rounds: VecDeque<Round>,
    last_round: u64,
    forwarded: VecDeque<Forwarded>,
    last_forwarded: u64,
    pub(crate) ready: Vec<ReadReady>,
}

impl Reads {
    pub(crate) fn add(&mut self, reader: Reader) {
        self.waiting.push(reader);
    }

    /// How many have not got their index.
    pub(crate) fn len(&self) -> usize {
        let rounds: usize = self.rounds.iter().map(|round| round.readers.len()).sum();
        let forwarded: usize = self.forwarded.iter().map(|group| group.readers.len()).sum();
        self.waiting.len() + rounds + forwarded
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn take_waiting(&mut self) -> Vec<Reader> {
        std::mem::take(&mut self.waiting)
    }

    /// The number of the latest round.
    pub(crate) fn last_round(&self) -> u64 {
        self.last_round
    }

    pub(crate) fn can_begin(&self) -> bool {
        self.rounds.len() < MAX_OPEN_ROUNDS
    }

    /// Starts a round for all that wait.
    pub(crate) fn begin(&mut self, index: u64, began: u64) {
        self.last_round += 1;
        let readers = std::mem::take(&mut self.waiting);
        self.rounds.push_back(Round {
            number: self.last_round,
            index,
            began,
            readers,
        });
    }

    /// Ends the oldest round if its number is at most `confirmed`.
    pub(crate) fn finish(&mut self, confirmed: u64) -> Option<Round> {
        if self.rounds.front()?.number > confirmed {
            return None;
        }
        self.rounds.pop_front()
    }

    pub(crate) fn can_forward(&self) -> bool {
        self.has_waiting() && self.forwarded.len() < MAX_OPEN_ROUNDS
    }

    /// Groups all that wait under a new number.
    pub(crate) fn forward(&mut self) -> u64 {
        self.last_forwarded += 1;
        let readers = std::mem::take(&mut self.waiting);
        let number = self.last_forwarded;
        self.forwarded.push_back(Forwarded {
            number,
            age_ticks: 0,
            readers,
        });
        number
    }

    /// The leader answered a group.
    pub(crate) fn answered(&mut self, number: u64, index: u64) {
        let Ok(place) = self
            .forwarded
            .binary_search_by_key(&number, |group| group.number)
        else {
            return;
        };
        let Some(group) = self.forwarded.remove(place) else {
            return;
        };
        for reader in group.readers {
            self.give(reader, index);
        }
    }

    /// Gives a local reader its index.
    pub(crate) fn give(&mut self, reader: Reader, index: u64) {
        if let Reader::Local(id) = reader {
            self.ready.push(ReadReady { id, index });
        }
    }

    /// Takes back groups that got no answer for `limit` ticks; they will travel under a new number.
    pub(crate) fn tick(&mut self, limit: u32) {
        for group in &mut self.forwarded {
            group.age_ticks += 1;
        }
        while self
            .forwarded
            .front()
            .is_some_and(|group| group.age_ticks >= limit)
        {
            let group = self.forwarded.pop_front();
            self.waiting
                .extend(group.into_iter().flat_map(|group| group.readers));
        }
    }

    /// The leader has changed: local reads begin again, those of peers are the peers' business.
    pub(crate) fn restart(&mut self) {
        let rounds = self.rounds.drain(..).flat_map(|round| round.readers);
        let forwarded = self.forwarded.drain(..).flat_map(|group| group.readers);
        self.waiting.extend(rounds.chain(forwarded));
        self.waiting
            .retain(|reader| matches!(reader, Reader::Local(_)));
    }
}
