//! Clients that hold a lease: they attach a key to it, keep it alive for a while, and then let go.

use super::history::{Kind, Told};
use super::options::{MILLISECOND, SECOND};
use super::random::Random;

/// Clients from this number on are holders.
pub(crate) const FIRST_HOLDER: u64 = 1000;

/// One holder.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    key: Vec<u8>,
    seconds: u64,
    lease: i64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Granting,
    Attaching,
    /// Keepalives that are left.
    Holding(u64),
}

impl Holder {
    pub(crate) fn new(client: u64) -> Self {
        Holder {
            key: format!("held {client}").into_bytes(),
            seconds: 2,
            lease: 0,
            phase: Phase::Granting,
        }
    }

    pub(crate) fn next_request(&self, random: &mut Random) -> Kind {
        let lease = self.lease;
        match self.phase {
            Phase::Granting => Kind::Grant {
                seconds: self.seconds.cast_signed(),
            },
            Phase::Attaching => Kind::Put {
                key: self.key.clone(),
                lease,
            },
            Phase::Holding(_) if random.chance(200) => Kind::TimeToLive { lease },
            Phase::Holding(_) => Kind::KeepAlive { lease },
        }
    }

    /// Takes the outcome of a request. Answers when the next one is made.
    pub(crate) fn learn(&mut self, number: u64, told: &Told, random: &mut Random) -> u64 {
        let soon = random.between(MILLISECOND, 50 * MILLISECOND);
        match (self.phase, told) {
            (Phase::Granting, Told::Done { .. }) => {
                self.lease = number.cast_signed();
                self.phase = Phase::Attaching;
                soon
            }
            (Phase::Granting, _) => soon,
            // Without an answer it may be attached all the same.
            (Phase::Attaching, Told::Wrote { .. } | Told::Nothing) => {
                self.phase = Phase::Holding(random.between(1, 20));
                soon
            }
            (Phase::Holding(_), Told::KeptAlive { ttl: 0 } | Told::Left { times: None })
            | (Phase::Attaching, _) => {
                self.begin_again(random);
                soon
            }
            (Phase::Holding(0), _) => {
                let forgotten = self.seconds * 2 * SECOND;
                self.begin_again(random);
                forgotten
            }
            (Phase::Holding(left), _) => {
                self.phase = Phase::Holding(left - 1);
                self.seconds * SECOND / 3
            }
        }
    }

    fn begin_again(&mut self, random: &mut Random) {
        self.seconds = random.between(2, 4);
        self.phase = Phase::Granting;
    }
}
