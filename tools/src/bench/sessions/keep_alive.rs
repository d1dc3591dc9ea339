//! Lease keep-alives: each client holds a lease and renews it over its connection's stream.

use std::collections::HashMap;

use crate::bench::http2::Status;
use crate::bench::links::LinkId;
use crate::bench::messages::{answers, requests};
use crate::bench::method::Method;
use crate::bench::session::{Caller, Next, Session};

/// The clients of one worker.
pub struct KeepAliveSession {
    ttl: i64,
    leases: Vec<i64>,
    clients_of: HashMap<i64, u32>,
    open: Vec<bool>,
    expired: u64,
}

impl KeepAliveSession {
    /// The grant, made once per client.
    pub const GRANT: usize = 0;
    /// The renewal.
    pub const KEEP_ALIVE: usize = 1;

    /// `clients` clients on `links` connections, with leases of `ttl` seconds.
    #[must_use]
    pub fn new(ttl: i64, clients: usize, links: usize) -> Self {
        Self {
            ttl,
            leases: vec![0; clients],
            clients_of: HashMap::new(),
            open: vec![false; links],
            expired: 0,
        }
    }
}

impl Session for KeepAliveSession {
    fn begin(&mut self, client: u32, caller: &mut Caller<'_>) -> usize {
        let lease = self.leases[client as usize];
        if lease == 0 {
            caller.unary(Method::LeaseGrant, |out| {
                requests::lease_grant(out, self.ttl)
            });
            return Self::GRANT;
        }
        let open = !std::mem::replace(&mut self.open[caller.link()], true);
        caller.on_stream(Method::LeaseKeepAlive, open, |out| {
            requests::lease(out, lease)
        });
        Self::KEEP_ALIVE
    }

    fn message(&mut self, client: u32, payload: &[u8]) {
        let lease = answers::lease(payload).0;
        self.leases[client as usize] = lease;
        self.clients_of.insert(lease, client);
    }

    fn answered(&mut self, _client: u32, status: &Status, _caller: &mut Caller<'_>) -> Next {
        if status.is_ok() {
            Next::Done
        } else {
            Next::Failed
        }
    }

    fn streamed(&mut self, _link: LinkId, payload: &[u8]) -> Option<u32> {
        let (lease, ttl) = answers::lease(payload);
        let client = *self.clients_of.get(&lease)?;
        if ttl <= 0 {
            self.expired += 1;
            self.reset(client);
        }
        Some(client)
    }

    fn stream_ended(&mut self, link: LinkId) {
        self.open[link] = false;
    }

    fn reset(&mut self, client: u32) {
        self.clients_of.remove(&self.leases[client as usize]);
        self.leases[client as usize] = 0;
    }

    fn leases(&self) -> Vec<i64> {
        let held = self.leases.iter().copied();
        held.filter(|lease| *lease != 0).collect()
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let expired = (self.expired > 0).then(|| ("leases that had expired".into(), self.expired));
        expired.into_iter().collect()
    }
}
