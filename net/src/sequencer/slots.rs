//! Places where the answers to proposals are awaited.
//!
//! A slot is reserved before a proposal leaves its reactor, so that the sequencer can always get rid of its answer. A
//! slot is used again and again; its generation tells a late answer to an abandoned proposal from the awaited one.

use super::{Failure, Reply};
use std::time::{Duration, Instant};

/// What is called with the outcome of a proposal, on the reactor that made it.
pub(crate) type Waiter = Box<dyn FnOnce(Result<Reply, Failure>)>;

/// The number of a slot together with its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    slot: u32,
    generation: u32,
}

/// Generations are counted in so many bits, because reactor, generation and slot share a `u64`.
const GENERATION_BITS: u32 = 24;

impl Ticket {
    /// The ticket and its reactor as one number.
    pub(crate) fn pack(self, reactor: usize) -> u64 {
        assert!(reactor < 256, "at most 256 reactors");
        (reactor as u64) << 56 | u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The reactor of a packed ticket.
    pub(crate) fn reactor(packed: u64) -> usize {
        (packed >> 56) as usize
    }

    /// The ticket of a packed one.
    pub(crate) fn unpack(packed: u64) -> Self {
        Ticket {
            slot: packed as u32,
            generation: (packed >> 32) as u32 & ((1 << GENERATION_BITS) - 1),
        }
    }
}

struct Slot {
    generation: u32,
    waiting: Option<Waiting>,
}

struct Waiting {
    waiter: Waiter,
    since: Instant,
    bytes: usize,
}

/// The slots of one reactor.
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    limit: usize,
    bytes: usize,
    bytes_limit: usize,
}

impl Slots {
    /// At most `limit` proposals of together `bytes_limit` bytes wait at a time.
    pub(crate) fn new(limit: usize, bytes_limit: usize) -> Self {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
            limit,
            bytes: 0,
            bytes_limit,
        }
    }

    /// Reserves a slot for a proposal of so many bytes; the waiter comes back if there is none. One proposal is always
    /// accepted, however large.
    pub(crate) fn reserve(
        &mut self,
        waiter: Waiter,
        bytes: usize,
        now: Instant,
    ) -> Result<Ticket, Waiter> {
        let crowded = self.bytes > 0 && self.bytes + bytes > self.bytes_limit;
        if crowded || (self.free.is_empty() && self.slots.len() >= self.limit) {
            return Err(waiter);
        }
        self.bytes += bytes;
        let waiting = Some(Waiting {
            waiter,
            since: now,
            bytes,
        });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize].waiting = waiting;
                slot
            }
            None => {
                self.slots.push(Slot {
                    generation: 0,
                    waiting,
                });
                (self.slots.len() - 1) as u32
            }
        };
        Ok(Ticket {
            slot,
            generation: self.slots[slot as usize].generation,
        })
    }

    /// Frees the slot and gives its waiter; `None` if it has been abandoned in the meantime.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Waiter> {
        let slot = self.slots.get_mut(ticket.slot as usize)?;
        if slot.generation != ticket.generation {
            return None;
        }
        let waiting = slot.waiting.take()?;
        slot.generation = (slot.generation + 1) & ((1 << GENERATION_BITS) - 1);
        self.bytes -= waiting.bytes;
        self.free.push(ticket.slot);
        Some(waiting.waiter)
    }

    /// Frees the slots that have waited for `patience` or longer, and gives their waiters and since when they wait.
    pub(crate) fn expire(&mut self, now: Instant, patience: Duration) -> Vec<(Waiter, Instant)> {
        let mut expired = Vec::new();
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let late = |since: &Instant| now.saturating_duration_since(*since) >= patience;
            let since = slot.waiting.as_ref().map(|waiting| waiting.since);
            if let Some(since) = since.filter(late) {
                let ticket = Ticket {
                    slot: index as u32,
                    generation: slot.generation,
                };
                expired.extend(self.take(ticket).map(|waiter| (waiter, since)));
            }
        }
        expired
    }

    /// Proposals that wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter() -> Waiter {
        Box::new(|_| {})
    }

    #[test]
    fn a_late_answer_does_not_reach_the_next_user_of_the_slot() {
        let mut slots = Slots::new(1, 1000);
        let now = Instant::now();
        let first = slots.reserve(waiter(), 10, now).ok().unwrap();
        assert_eq!(
            slots
                .expire(now + Duration::from_secs(7), Duration::from_secs(7))
                .len(),
            1
        );
        let second = slots.reserve(waiter(), 10, now).ok().unwrap();
        assert_ne!(first, second);
        assert!(slots.take(first).is_none());
        assert!(slots.take(second).is_some());
        assert!(slots.take(second).is_none());
        assert_eq!(slots.waiting(), 0);
    }

    #[test]
    fn slots_and_bytes_are_bounded() {
        let mut slots = Slots::new(2, 100);
        let now = Instant::now();
        let large = slots.reserve(waiter(), 1000, now).ok().unwrap();
        assert!(slots.reserve(waiter(), 1, now).is_err());
        drop(slots.take(large).unwrap());
        slots.reserve(waiter(), 1, now).ok().unwrap();
        slots.reserve(waiter(), 1, now).ok().unwrap();
        assert!(slots.reserve(waiter(), 1, now).is_err());
    }

    #[test]
    fn tickets_survive_packing() {
        let ticket = Ticket {
            slot: 77,
            generation: (1 << GENERATION_BITS) - 1,
        };
        let packed = ticket.pack(255);
        assert_eq!(
            (Ticket::reactor(packed), Ticket::unpack(packed)),
            (255, ticket)
        );
    }
}
