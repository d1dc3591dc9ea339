//! Lock and election contention: clients that compete for a few names.

use crate::bench::http2::Status;
use crate::bench::messages::{answers, requests};
use crate::bench::method::Method;
use crate::bench::session::{Caller, Next, Session};

/// What the clients compete for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contest {
    /// Lock, then unlock.
    Lock,
    /// Campaign, then resign.
    Election,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// No lease yet.
    #[default]
    Granting,
    /// The acquisition is under way.
    Acquiring,
    /// The release is under way.
    Releasing,
}

#[derive(Debug, Clone, Default)]
struct Client {
    stage: Stage,
    lease: i64,
    /// Ownership key of the lock, or the leader key of the election.
    owned: Vec<u8>,
}

/// The competing clients of one worker. Each acquisition (to the answer) and each release is an
/// operation; the lease is granted once per client, as an operation of its own.
pub struct ContentionSession {
    contest: Contest,
    names: Vec<Vec<u8>>,
    ttl: i64,
    clients: Vec<Client>,
    /// All leases ever granted: what a client held when its call failed may still stand in the way.
    granted: Vec<i64>,
}

impl ContentionSession {
    /// Operations of this session in the run's results, in order.
    pub const GRANT: usize = 0;
    /// Acquisition.
    pub const ACQUIRE: usize = 1;
    /// Release.
    pub const RELEASE: usize = 2;

    /// `clients` clients that compete for `names` (client `c` for name `c % names`), with leases of
    /// `ttl` seconds.
    #[must_use]
    pub fn new(contest: Contest, names: Vec<Vec<u8>>, ttl: i64, clients: usize) -> Self {
        assert!(!names.is_empty(), "there is something to compete for");
        Self {
            contest,
            names,
            ttl,
            clients: vec![Client::default(); clients],
            granted: Vec::new(),
        }
    }
}

impl Session for ContentionSession {
    fn begin(&mut self, client: u32, caller: &mut Caller<'_>) -> usize {
        let state = &mut self.clients[client as usize];
        if state.lease == 0 {
            state.stage = Stage::Granting;
            caller.unary(Method::LeaseGrant, |out| {
                requests::lease_grant(out, self.ttl)
            });
            return Self::GRANT;
        }
        let name = &self.names[client as usize % self.names.len()];
        let (lease, owned) = (state.lease, &state.owned);
        if state.stage == Stage::Acquiring && !owned.is_empty() {
            state.stage = Stage::Releasing;
            match self.contest {
                Contest::Lock => caller.unary(Method::Unlock, |out| requests::unlock(out, owned)),
                Contest::Election => {
                    caller.unary(Method::Resign, |out| requests::resign(out, owned));
                }
            }
            return Self::RELEASE;
        }
        state.stage = Stage::Acquiring;
        match self.contest {
            Contest::Lock => caller.unary(Method::Lock, |out| requests::lock(out, name, lease)),
            Contest::Election => caller.unary(Method::Campaign, |out| {
                requests::campaign(out, name, lease, b"candidate")
            }),
        }
        Self::ACQUIRE
    }

    fn message(&mut self, client: u32, payload: &[u8]) {
        let state = &mut self.clients[client as usize];
        match state.stage {
            Stage::Granting => {
                state.lease = answers::lease(payload).0;
                self.granted.push(state.lease);
            }
            // Field 2 is the lock's key, or the election's LeaderKey message.
            Stage::Acquiring => state.owned = answers::bytes_of(payload, 2).to_vec(),
            Stage::Releasing => state.owned.clear(),
        }
    }

    fn answered(&mut self, client: u32, status: &Status, _caller: &mut Caller<'_>) -> Next {
        let state = &self.clients[client as usize];
        let usable = match state.stage {
            Stage::Granting => state.lease != 0,
            Stage::Acquiring => !state.owned.is_empty(),
            Stage::Releasing => true,
        };
        if status.is_ok() && usable {
            Next::Done
        } else {
            Next::Failed
        }
    }

    fn leases(&self) -> Vec<i64> {
        self.granted.clone()
    }

    fn reset(&mut self, client: u32) {
        // The lease may be gone with what failed; it is granted anew.
        self.clients[client as usize] = Client::default();
    }
}
