//! Random requests from one seed, sent to etcd and to the server under test in lockstep; every answer, every error with its
//! text, every event of a watch and every hash of the store must be the same. Masked are only the cluster's and the
//! member's identifiers, the Raft term, and the seconds that a lease has left.
//!
//! `REEVE_DIFFERENTIAL_REQUESTS` sets how many requests are sent, `REEVE_SEED` repeats a run.

mod call;
mod generate;
mod settle;
mod watches;

use std::collections::VecDeque;

use crate::support::grpc::Client;
use crate::support::programs::Oracle;
use crate::support::random::Random;
use crate::support::server::{Launch, Server};
use crate::support::{notice, run, setting, turn};

use call::{Answer, Call, Identity};
use generate::Generator;
use watches::{Tail, catch_up};

/// One of the two servers with what is open on it.
struct Side {
    server: Server,
    client: Client,
    identity: Identity,
    tail: Tail,
}

impl Side {
    async fn new(launch: Launch) -> Side {
        Side::attach(launch.start()).await
    }

    /// Connects to a server and watches everything from now on.
    async fn attach(server: Server) -> Side {
        let mut client = Client::connect(&server.endpoint()).await;
        let identity = Identity::of(&mut client).await;
        let tail = Tail::open(&mut client).await;
        Side {
            server,
            client,
            identity,
            tail,
        }
    }

    async fn answer(&mut self, call: &Call) -> Answer {
        let answer = call.send(&mut self.client).await;
        settle::answer(call, answer, &self.identity)
    }

    /// The same server after an end and a new start.
    async fn again(mut self) -> Side {
        self.server.start_again();
        Side::attach(self.server).await
    }
}

/// Both servers and what has been sent to them.
struct Pair {
    etcd: Side,
    own: Side,
    sent: u64,
    last: VecDeque<String>,
}

impl Pair {
    async fn new(oracle: &Oracle) -> Pair {
        Pair {
            etcd: Side::new(Launch::program(oracle.etcd())).await,
            own: Side::new(Launch::under_test()).await,
            sent: 0,
            last: VecDeque::new(),
        }
    }

    /// Sends one request to both; the answer, which is the same.
    async fn send(&mut self, call: &Call) -> Answer {
        self.sent += 1;
        self.last.push_back(format!("  {}: {call:?}", self.sent));
        if self.last.len() > 12 {
            self.last.pop_front();
        }
        let (expected, actual) = tokio::join!(self.etcd.answer(call), self.own.answer(call));
        assert!(
            expected == actual,
            "request {} is answered differently; the last requests were\n{}\netcd:       {expected:?}\nunder test: {actual:?}\n{}\n{}",
            self.sent,
            self.last.make_contiguous().join("\n"),
            self.etcd.server.printed(),
            self.own.server.printed(),
        );
        expected
    }

    /// Both tails have shown the same events up to `revision`.
    async fn drain(&mut self, revision: i64) {
        let (expected, actual) = tokio::join!(
            self.etcd.tail.drain(revision),
            self.own.tail.drain(revision)
        );
        for (expected, actual) in expected.iter().zip(&actual) {
            assert_eq!(expected, actual, "events up to revision {revision} differ");
        }
        assert_eq!(expected.len(), actual.len(), "events up to {revision}");
    }

    /// A watch that starts in the past shows the same.
    async fn watch(&mut self, generator: &mut Generator) {
        let create = generator.watch();
        let until = generator.revision;
        let (expected, actual) = tokio::join!(
            catch_up(&mut self.etcd.client, &create, until),
            catch_up(&mut self.own.client, &create, until)
        );
        assert_eq!(expected, actual, "{create:?} until {until} differs");
    }

    /// Ends both servers and starts them again.
    async fn restart(mut self, clean: bool) -> Pair {
        for side in [&mut self.etcd, &mut self.own] {
            if clean {
                side.server.terminate();
            } else {
                side.server.kill();
            }
        }
        Pair {
            etcd: self.etcd.again().await,
            own: self.own.again().await,
            ..self
        }
    }

    /// Reads everything at many revisions, with the hash of the store at each.
    async fn sweep(&mut self, generator: &mut Generator) {
        for call in generator.sweep() {
            let _same = self.send(&call).await;
        }
    }
}

#[test]
fn differential() {
    let _turn = turn::shared();
    let Some(oracle) = Oracle::find("differential") else {
        return;
    };
    let requests = setting("REEVE_DIFFERENTIAL_REQUESTS", 4000);
    let mut random = Random::announced("differential");
    let seed = random.next();
    run(compare(&oracle, seed, requests));
}

async fn compare(oracle: &Oracle, seed: u64, requests: u64) {
    let mut generator = Generator::new(seed);
    let mut pair = Pair::new(oracle).await;
    let mut watches = 0;
    for number in 1..=requests {
        let call = generator.call();
        if matches!(call, Call::Compact(_)) {
            // A compaction takes from a slow watch the previous values that it would have shown.
            pair.drain(generator.revision).await;
        }
        let answer = pair.send(&call).await;
        generator.learn(&call, &answer);
        if number % 200 == 0 {
            pair.drain(generator.revision).await;
        }
        if number % 100 == 0 {
            pair.watch(&mut generator).await;
            watches += 1;
        }
        if number % (requests / 4).max(1) == 0 {
            pair.drain(generator.revision).await;
            pair.sweep(&mut generator).await;
            pair = pair.restart(number % 2 == 0).await;
            pair.sweep(&mut generator).await;
        }
    }
    notice(&format!(
        "differential: {} requests and {watches} watches from the past answered alike, revision {} reached",
        pair.sent, generator.revision
    ));
}
