//! Linearizable reads of one reactor that wait for their index.
//!
//! All that wait are asked for with one question to the sequencer, so that a thousand reads cost one. A read is part of a
//! question only if it came before the question left. The core asks the leader again by itself, also when the leader
//! changes, so a question that has left is never lost, and a reader that gives up leaves it open.

use super::Failure;
use super::promise::{Giver, Taker, promise};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Questions that may be open at a time: while one travels the next can leave, and what comes later waits for the first.
const OPEN: usize = 2;

struct Reader {
    give: Giver<Result<(), Failure>>,
    since: Instant,
}

/// See the module.
#[derive(Default)]
pub(super) struct ReadRounds {
    waiting: Vec<Reader>,
    /// Questions and who is answered by each, in the order in which they left.
    open: VecDeque<(u64, Vec<Reader>)>,
    last: u64,
}

impl ReadRounds {
    /// Takes a reader in.
    pub(super) fn join(&mut self, now: Instant) -> Taker<Result<(), Failure>> {
        let (give, take) = promise();
        self.waiting.push(Reader { give, since: now });
        take
    }

    /// The number of the next question, if one may leave now: all that wait are part of it.
    pub(super) fn begin(&mut self) -> Option<u64> {
        if self.waiting.is_empty() || self.open.len() >= OPEN {
            return None;
        }
        self.last += 1;
        let readers = std::mem::take(&mut self.waiting);
        self.open.push_back((self.last, readers));
        Some(self.last)
    }

    /// The question could not leave.
    pub(super) fn refuse(&mut self, number: u64, failure: &Failure) {
        self.end(number, &Err(failure.clone()));
    }

    /// The question is answered: its readers may read now.
    pub(super) fn answer(&mut self, number: u64) {
        self.end(number, &Ok(()));
    }

    fn end(&mut self, number: u64, outcome: &Result<(), Failure>) {
        let place = self.open.iter().position(|(open, _)| *open == number);
        let Some((_, readers)) = place.and_then(|place| self.open.remove(place)) else {
            return;
        };
        for reader in readers {
            reader.give.give(outcome.clone());
        }
    }

    /// Fails those that have waited for `patience` or longer.
    pub(super) fn expire(&mut self, now: Instant, patience: Duration, failure: &Failure) {
        let all = self.open.iter_mut().map(|(_, readers)| readers);
        for readers in all.chain(std::iter::once(&mut self.waiting)) {
            let is_late =
                |reader: &mut Reader| now.saturating_duration_since(reader.since) >= patience;
            for reader in readers.extract_if(.., is_late) {
                reader.give.give(Err(failure.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    fn look(take: &mut Taker<Result<(), Failure>>) -> Option<Result<(), Failure>> {
        let mut context = Context::from_waker(Waker::noop());
        match Future::poll(Pin::new(take), &mut context) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_reader_is_answered_by_a_question_that_left_after_it_came() {
        let mut rounds = ReadRounds::default();
        let now = Instant::now();
        let mut first = rounds.join(now);
        assert_eq!(rounds.begin(), Some(1));
        let (mut second, mut third) = (rounds.join(now), rounds.join(now));
        assert_eq!(rounds.begin(), Some(2));
        let mut fourth = rounds.join(now);
        assert_eq!(rounds.begin(), None, "two are open");
        rounds.answer(1);
        assert_eq!(look(&mut first), Some(Ok(())));
        assert_eq!((look(&mut second), look(&mut third)), (None, None));
        assert_eq!(rounds.begin(), Some(3));
        rounds.answer(2);
        assert_eq!(
            (look(&mut second), look(&mut third)),
            (Some(Ok(())), Some(Ok(())))
        );
        rounds.refuse(3, &Failure::TooManyRequests);
        assert_eq!(look(&mut fourth), Some(Err(Failure::TooManyRequests)));
        rounds.answer(3);
    }

    #[test]
    fn readers_give_up_and_their_question_stays_open() {
        let mut rounds = ReadRounds::default();
        let now = Instant::now();
        let patience = Duration::from_secs(7);
        let mut early = rounds.join(now);
        assert_eq!(rounds.begin(), Some(1));
        let mut late = rounds.join(now + patience);
        rounds.expire(now + patience, patience, &Failure::TimedOut);
        assert_eq!(look(&mut early), Some(Err(Failure::TimedOut)));
        assert_eq!(look(&mut late), None);
        assert_eq!(rounds.begin(), Some(2));
        let _ = rounds.join(now);
        assert_eq!(rounds.begin(), None, "no more leave while nobody answers");
    }
}
