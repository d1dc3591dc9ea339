//! Damage that nobody meets until something is read.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use reeve_api::etcdserverpb::{RangeRequest, RangeResponse, kv_methods};

use super::{await_three_voters, id_of, rebuild};
use crate::members::Plan;
use crate::support::grpc::Client;
use crate::support::{programs, run, turn};

/// More than a start checks as a whole (64 MiB).
const VALUES: usize = 76;
const VALUE_BYTES: usize = 1 << 20;

/// Two of the first, so that nothing that is applied at a start is near them.
const DAMAGED: [usize; 2] = [3, 5];

fn key(number: usize) -> String {
    format!("key {number:04}")
}

fn text(number: usize) -> Vec<u8> {
    format!("<value {number:04}>").into_bytes()
}

fn value(number: usize) -> Vec<u8> {
    text(number).into_iter().cycle().take(VALUE_BYTES).collect()
}

/// Turns a byte in the middle of a value, which the file must hold.
fn damage(file: &Path, number: usize) {
    let bytes = fs::read(file).expect("the file is readable");
    let pattern = text(number);
    let middles = bytes.chunks_exact(4096).map(|block| &block[2048..2100]);
    let holds = |middle: &[u8]| middle.windows(pattern.len()).any(|it| it == pattern);
    let held: Vec<usize> = middles
        .enumerate()
        .filter(|(_, middle)| holds(middle))
        .map(|(number, _)| number)
        .collect();
    assert!(held.len() > 100, "{} blocks hold the value", held.len());
    let place = held[held.len() / 2] * 4096 + 2060;
    let file = OpenOptions::new().write(true).open(file);
    let file = file.expect("the file can be opened");
    let turned = [bytes[place] ^ 1];
    file.write_all_at(&turned, place as u64).expect("a write");
}

/// Reads a key of this member alone.
async fn read(endpoint: &str, number: usize) -> Option<Vec<u8>> {
    let mut client = Client::connect(endpoint).await;
    let request = RangeRequest {
        key: key(number).into(),
        serializable: true,
        ..RangeRequest::default()
    };
    let answer: Result<RangeResponse, _> = client.call(kv_methods::RANGE, &request).await;
    answer.ok().map(|answer| answer.kvs[0].value.to_vec())
}

#[test]
fn a_member_that_meets_damage_in_a_read_stops_and_is_rebuilt() {
    let test = "a_member_that_meets_damage_in_a_read_stops_and_is_rebuilt";
    let _turn = turn::alone();
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3)
        .directly()
        .start_with(|_, launch| launch.small_checkpoints());
    cluster.lead(0);
    let endpoints = cluster.endpoints();
    run(async {
        let mut client = Client::connect(&endpoints[0]).await;
        for number in 0..VALUES {
            let put = client.put(key(number).as_bytes(), &value(number)).await;
            put.expect("a put");
        }
    });
    let file = cluster.members[1].data_dir().join("member/reeve.pages");
    // The first value is damaged while the member rests, the second one while it runs.
    for (number, runs) in DAMAGED.into_iter().zip([false, true]) {
        let old = id_of(&cluster, 0, 1);
        cluster.members[1].terminate();
        if !runs {
            damage(&file, number);
        }
        cluster.start_again(1);
        if runs {
            damage(&file, number);
        }
        // What is whole it answers; the damaged value it does not, and then nothing at all.
        assert_eq!(run(read(&endpoints[1], 0)), Some(value(0)));
        assert_eq!(run(read(&endpoints[1], number)), None);
        let end = cluster.members[1].refusal();
        assert_eq!(end.code, Some(1), "{}", end.stderr);
        let ended = end.stderr.lines().find(|it| it.contains("cannot go on"));
        let ended = ended.unwrap_or_else(|| panic!("{}", end.stderr));
        for told in ["reeve.pages", "page ", "is damaged", "reeve rebuild"] {
            assert!(ended.contains(told), "{ended}");
        }
        rebuild(&cluster, 1);
        cluster.start_again(1);
        await_three_voters(&mut cluster, 0, old);
        assert_eq!(run(read(&endpoints[1], number)), Some(value(number)));
    }
}
