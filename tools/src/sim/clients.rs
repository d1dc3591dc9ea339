//! Clients: each has one request under way, asks any member, and gives up after some time.

use super::history::{Kind, Request, Told, values_of};
use super::holders::{FIRST_HOLDER, Holder};
use super::member::Found;
use super::options::{MILLISECOND, SECOND};
use super::world::{Event, World};
use super::{Checked, finding};
use reeve_engine::command::{
    Body, Compact, Compare, CompareTarget, DeleteRange, Encoder, Header, LeaseGrant, Operation,
    Put, RangeRequest, Relation, RequestId, Txn,
};
use reeve_engine::mvcc::{Applied, KeyValues, OperationResult};
use reeve_node::{Answered, LeaseAnswer, LeaseQuestion};
use reeve_raft::MemberId;
use std::collections::{BTreeMap, BTreeSet};

/// A client waits so long for an answer.
const PATIENCE: u64 = 4 * SECOND;
/// A member that lacks so many entries is catching up; clients alone never get so far ahead of one that is not.
const FAR_BEHIND: u64 = 100;

/// All clients and what they know.
#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) requests: Vec<Request>,
    /// Requests under way: by number the client, and the life of the member that was asked.
    open: BTreeMap<u64, (u64, MemberId, u64)>,
    /// Commands under way that a leader has refused: nobody has them.
    parked: BTreeSet<u64>,
    /// When each key was last changed, as far as clients have heard.
    changed: BTreeMap<Vec<u8>, i64>,
    /// Leases that were granted.
    leases: Vec<i64>,
    pub(crate) holders: BTreeMap<u64, Holder>,
    encoder: Encoder,
    pub(crate) stopped: bool,
    newest: i64,
}

impl World {
    /// A client makes its next request.
    pub(crate) fn ask(&mut self, client: u64) -> Checked {
        if self.clients.stopped {
            return Ok(());
        }
        let id = self.random.pick(&self.everybody());
        if !self.members[&id].is_active(self.now) {
            // The connection is refused.
            self.schedule(100 * MILLISECOND, Event::Ask(client));
            return Ok(());
        }
        let kind = match self.clients.holders.get(&client) {
            Some(holder) => holder.next_request(&mut self.random),
            None => self.choose(),
        };
        let number = self.clients.requests.len() as u64 + 1;
        self.clients.requests.push(Request {
            number,
            asked: id,
            was_behind: self.is_behind(id),
            kind: kind.clone(),
            called: self.now,
            ended: None,
            told: Told::Nothing,
        });
        let life = self.members[&id].life;
        self.clients.open.insert(number, (client, id, life));
        self.schedule(PATIENCE, Event::GiveUp(number));
        if matches!(kind, Kind::Glance(_)) {
            return self.glance(id, number);
        }
        if !self.submit(id, number, &kind)? {
            self.end(number, Told::Refused);
        }
        self.settle(id)
    }

    /// Whether a member lacks so much that it has to catch up before it can answer.
    fn is_behind(&self, id: MemberId) -> bool {
        let running = self.members[&id].running.as_ref();
        running.is_some_and(|running| {
            running.node.status().applied + FAR_BEHIND < self.checks.committed_index()
        })
    }

    /// Hands a request to a member. False if it does not take it.
    fn submit(&mut self, id: MemberId, number: u64, kind: &Kind) -> Checked<bool> {
        let member = self.members.get_mut(&id);
        let Some(running) = member.and_then(|member| member.running.as_mut()) else {
            return Ok(false);
        };
        let question = match kind {
            Kind::Read { .. } => return Ok(running.node.read(number).is_ok()),
            Kind::KeepAlive { lease } => LeaseQuestion::KeepAlive(*lease),
            Kind::TimeToLive { lease } => LeaseQuestion::TimeToLive(*lease),
            _ => {
                if kind.grows() && running.node.status().no_space {
                    self.summary.count("refused for lack of space");
                    return Ok(false);
                }
                let request = RequestId {
                    member: running.nonce,
                    sequence: number,
                };
                let command = encode(&mut self.clients.encoder, request, kind)?;
                return Ok(running.node.propose(command).is_ok());
            }
        };
        Ok(running.node.ask_lease(number, question).is_ok())
    }

    fn choose(&mut self) -> Kind {
        let number = self.random.between(0, self.options.traffic.keys - 1);
        let key = format!("key {number}").into_bytes();
        match self.random.between(0, 99) {
            0..30 => Kind::Read { key },
            30..38 => Kind::Glance(key),
            38..58 => Kind::Put { key, lease: 0 },
            58..66 => Kind::Pair {
                first: key,
                second: b"second".to_vec(),
            },
            66..75 => Kind::Delete { key },
            75..88 => {
                let expected = self.clients.changed.get(&key).copied().unwrap_or(0);
                Kind::Swap { key, expected }
            }
            88..91 => Kind::Grant {
                seconds: self.random.between(2, 6).cast_signed(),
            },
            91..95 if !self.clients.leases.is_empty() => {
                let lease = self.random.pick(&self.clients.leases);
                Kind::Put { key, lease }
            }
            95..98 if !self.clients.leases.is_empty() => {
                let lease = self.random.pick(&self.clients.leases);
                Kind::TimeToLive { lease }
            }
            91..98 => Kind::Put { key, lease: 0 },
            _ => Kind::Compact {
                revision: (self.clients.newest - 20).max(1),
            },
        }
    }

    /// A leader has refused a command: it waits at the member that was asked until somebody else leads, as in the server.
    pub(crate) fn park(&mut self, id: MemberId, number: u64) {
        let life = self.members[&id].life;
        let asked = self.clients.open.get(&number);
        if asked.is_some_and(|(_, member, open)| (*member, *open) == (id, life)) {
            self.clients.parked.insert(number);
        }
    }

    /// Proposes again what waits at a member, if it knows a leader.
    pub(crate) fn propose_parked(&mut self, id: MemberId) -> Checked {
        let member = &self.members[&id];
        let running = member.running.as_ref();
        let has_leader = running.is_some_and(|it| it.node.consensus().leader().is_some());
        if !has_leader || !member.is_active(self.now) || self.clients.parked.is_empty() {
            return Ok(());
        }
        let open = &self.clients.open;
        let is_here = |number: &&u64| open.get(number).is_some_and(|(_, member, _)| *member == id);
        let parked = self.clients.parked.iter().filter(is_here);
        for number in parked.copied().collect::<Vec<_>>() {
            let kind = self.clients.requests[number as usize - 1].kind.clone();
            if self.submit(id, number, &kind)? {
                self.clients.parked.remove(&number);
                self.summary.count("commands proposed again");
            }
        }
        self.settle(id)
    }

    /// A client has waited long enough.
    pub(crate) fn give_up(&mut self, number: u64) {
        if self.clients.open.contains_key(&number) {
            self.end(number, Told::Nothing);
        }
    }

    /// The members that a client was connected to has died.
    pub(crate) fn disconnect(&mut self, id: MemberId) {
        let open = self.clients.open.iter();
        let cut: Vec<u64> = open
            .filter(|(_, (_, member, _))| *member == id)
            .map(|(number, _)| *number)
            .collect();
        for number in cut {
            self.end(number, Told::Nothing);
        }
    }

    /// A request ends for its client.
    pub(crate) fn end(&mut self, number: u64, told: Told) {
        let Some((client, ..)) = self.clients.open.remove(&number) else {
            return;
        };
        self.clients.parked.remove(&number);
        let request = &mut self.clients.requests[number as usize - 1];
        match &told {
            Told::Nothing => self.summary.count("without an answer"),
            _ => self.summary.count("answered"),
        }
        if told != Told::Nothing {
            request.ended = Some(self.now);
        }
        let (kind, kept) = (request.kind.clone(), told.clone());
        request.told = told;
        self.clients.learn(number, kind, &kept);
        let mut pause = self.random.between(MILLISECOND, self.options.traffic.think);
        if client >= FIRST_HOLDER
            && let Some(holder) = self.clients.holders.get_mut(&client)
        {
            pause = holder.learn(number, &kept, &mut self.random);
        }
        self.schedule(pause, Event::Ask(client));
    }

    /// A member may answer a read from the root it has published.
    pub(crate) fn answer_read(&mut self, id: MemberId, number: u64) -> Checked {
        let Some((_, asked, life)) = self.clients.open.get(&number).copied() else {
            return Ok(());
        };
        let member = &self.members[&id];
        let Kind::Read { key } = &self.clients.requests[number as usize - 1].kind else {
            return Err(finding!("member {id} answers a read that was none"));
        };
        if (asked, life) != (id, member.life) {
            return Err(finding!("member {id} answers the read of another"));
        }
        let Some(running) = &member.running else {
            return Ok(());
        };
        let answer = running.read(key);
        let Some((revision, found)) = self.unless_rotten(id, answer)? else {
            return Ok(());
        };
        self.summary.count("linearizable reads");
        self.end(number, Told::Saw { revision, found });
        Ok(())
    }

    /// A serializable read: whatever this member shows now.
    fn glance(&mut self, id: MemberId, number: u64) -> Checked {
        let Kind::Glance(key) = &self.clients.requests[number as usize - 1].kind else {
            return Ok(());
        };
        let Some(running) = &self.members[&id].running else {
            return Ok(());
        };
        let answer = running.read(key);
        if let Some((revision, found)) = self.unless_rotten(id, answer)? {
            self.summary.count("serializable reads");
            self.end(number, Told::Saw { revision, found });
        }
        Ok(())
    }

    /// A member answers a question about a lease.
    pub(crate) fn answer_lease(&mut self, number: u64, answer: LeaseAnswer) {
        self.summary.count("answers about leases");
        self.end(
            number,
            match answer {
                LeaseAnswer::KeptAlive(ttl) => Told::KeptAlive { ttl },
                LeaseAnswer::TimeToLive(times) => Told::Left { times },
            },
        );
    }

    /// A member answers a command.
    pub(crate) fn answer(&mut self, id: MemberId, answered: Answered) {
        let number = answered.request.sequence;
        let life = self.members[&id].life;
        let asked = self.clients.open.get(&number);
        if asked.is_none_or(|(_, member, open)| (*member, *open) != (id, life)) {
            return;
        }
        let told = match answered.outcome {
            Ok(applied) => told(applied),
            Err(_) => Told::Refused,
        };
        self.end(number, told);
    }
}

impl Clients {
    /// What a client learns from an answer.
    fn learn(&mut self, number: u64, kind: Kind, told: &Told) {
        let (Told::Wrote { revision } | Told::Saw { revision, .. } | Told::Done { revision }) =
            told
        else {
            return;
        };
        self.newest = self.newest.max(*revision);
        let changed = match told {
            Told::Saw { found, .. } => found.as_ref().map_or(0, |found| found.mod_revision),
            _ if matches!(kind, Kind::Delete { .. }) => 0,
            _ => *revision,
        };
        match kind {
            Kind::Grant { .. } => self.leases.push(number.cast_signed()),
            Kind::Compact { .. }
            | Kind::Glance(_)
            | Kind::KeepAlive { .. }
            | Kind::TimeToLive { .. } => {}
            Kind::Pair {
                first: key, second, ..
            } => {
                self.changed.insert(key, changed);
                self.changed.insert(second, changed);
            }
            Kind::Read { key }
            | Kind::Put { key, .. }
            | Kind::Delete { key }
            | Kind::Swap { key, .. } => {
                self.changed.insert(key, changed);
            }
        }
    }
}

fn told(applied: Applied) -> Told {
    match applied {
        Applied::DeleteRange {
            revision,
            deleted: 0,
            ..
        } => Told::Saw {
            revision,
            found: None,
        },
        Applied::Put { revision, .. } | Applied::DeleteRange { revision, .. } => {
            Told::Wrote { revision }
        }
        Applied::Txn { revision, result } => match result.results.first() {
            Some(OperationResult::Range { pairs, .. }) => Told::Saw {
                revision,
                found: first_pair(pairs),
            },
            _ => Told::Wrote { revision },
        },
        Applied::Compacted { revision, .. }
        | Applied::LeaseGranted { revision, .. }
        | Applied::LeaseRevoked { revision, .. } => Told::Done { revision },
        Applied::MemberAttributes(_)
        | Applied::ClusterVersion(_)
        | Applied::MembersChanged
        | Applied::AlarmRaised(_)
        | Applied::AlarmEnded(_) => {
            unreachable!("no client of the simulation asks for this")
        }
    }
}

fn first_pair(pairs: &KeyValues) -> Option<Found> {
    pairs.iter().next().map(|pair| Found {
        value: pair.value.to_vec(),
        mod_revision: pair.mod_revision,
    })
}

fn encode(encoder: &mut Encoder, request: RequestId, kind: &Kind) -> Checked<bytes::Bytes> {
    let values = values_of(request.sequence);
    let put = |key, lease| Put {
        key,
        value: &values[0],
        lease,
        ..Put::default()
    };
    let body = match kind {
        Kind::Read { .. } | Kind::Glance(_) | Kind::KeepAlive { .. } | Kind::TimeToLive { .. } => {
            return Err(finding!("{kind:?} is no command"));
        }
        Kind::Pair { first, second } => Body::Txn(Txn {
            compares: Vec::new(),
            success: vec![
                Operation::Put(put(first, 0)),
                Operation::Put(Put {
                    value: &values[1],
                    ..put(second, 0)
                }),
            ],
            failure: Vec::new(),
        }),
        Kind::Put { key, lease } => Body::Put(put(key, *lease)),
        Kind::Delete { key } => Body::DeleteRange(DeleteRange {
            key,
            ..DeleteRange::default()
        }),
        Kind::Swap { key, expected } => Body::Txn(Txn {
            compares: vec![Compare {
                key,
                range_end: &[],
                target: CompareTarget::Mod(*expected),
                relation: Relation::Equal,
            }],
            success: vec![Operation::Put(put(key, 0))],
            failure: vec![Operation::Range(RangeRequest {
                key,
                ..RangeRequest::default()
            })],
        }),
        Kind::Grant { seconds } => Body::LeaseGrant(LeaseGrant {
            id: request.sequence.cast_signed(),
            ttl: *seconds,
        }),
        Kind::Compact { revision } => Body::Compact(Compact {
            revision: *revision,
            physical: false,
        }),
    };
    let header = Header {
        request,
        ..Header::default()
    };
    let encoded = encoder.encode(&header, &body);
    encoded.map_err(|error| finding!("a command cannot be encoded: {error}"))
}
