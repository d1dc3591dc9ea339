//! Kills the server with SIGKILL under 32 writers, starts it again, and looks for every acknowledged write: none may be
//! missing, hold another value or stand at another revision. Nothing that was never written may appear, and a transaction
//! whose answer was lost must be there whole or not at all.
//!
//! `REEVE_CRASH_ROUNDS` sets the rounds, `REEVE_SEED` repeats the choice of writes (not their timing).

mod verify;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::grpc::Client;
use crate::support::programs::only_for_reeve;
use crate::support::random::Random;
use crate::support::server::{Launch, Server};
use crate::support::{notice, run, setting, turn};

use verify::Store;
use writer::{Writer, Written};

const WRITERS: u64 = 32;

#[test]
fn kill_9_loses_nothing() {
    let _turn = turn::alone();
    survive(Launch::under_test(), setting("REEVE_CRASH_ROUNDS", 50));
}

/// With bounds so small that the server is in the middle of a checkpoint most of the time.
#[test]
fn kill_9_in_the_middle_of_checkpoints_loses_nothing() {
    let _turn = turn::alone();
    if only_for_reeve("kill_9_in_the_middle_of_checkpoints_loses_nothing") {
        let rounds = setting("REEVE_CRASH_ROUNDS", 50) / 2;
        survive(Launch::under_test().small_checkpoints(), rounds);
    }
}

fn survive(launch: Launch, rounds: u64) {
    let mut random = Random::announced("crash");
    let mut server = launch.start();
    let mut store = Store::default();
    for round in 0..rounds {
        let written = run(write_until_killed(&mut server, round, &mut random));
        server.start_again();
        run(store.check(&server.endpoint(), round, written, &mut random));
    }
    run(store.check_all(&server.endpoint()));
    let acknowledged = store.acknowledged();
    assert!(
        acknowledged >= rounds * WRITERS,
        "only {acknowledged} writes were acknowledged in {rounds} rounds"
    );
    notice(&format!(
        "crash: {rounds} rounds of kill -9 under {WRITERS} writers, {acknowledged} acknowledged writes, all found"
    ));
}

/// Lets the writers run for a while and kills the server in the middle of it.
async fn write_until_killed(server: &mut Server, round: u64, random: &mut Random) -> Vec<Written> {
    let mut writers = JoinSet::new();
    let answered = Arc::new(AtomicU64::new(0));
    for number in 0..WRITERS {
        let client = Client::connect(&server.endpoint()).await;
        let writer = Writer::new(client, round, number, random.next(), Arc::clone(&answered));
        writers.spawn(writer.run());
    }
    while answered.load(Ordering::Relaxed) < WRITERS {
        assert!(server.lives(), "{}", server.printed());
        sleep(Duration::from_millis(1)).await;
    }
    // Where the kill falls is left to chance.
    sleep(Duration::from_millis(random.below(300))).await;
    server.kill();
    writers.join_all().await
}
