//! Bytes that no member would send: garbage, endless frames, connections that say nothing.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reeve_peer::{FrameKind, MAGIC, Output};

use crate::history::{Workload, assert_sound};
use crate::members::{Cluster, Plan, forms_clusters};
use crate::support::programs::only_for_reeve;
use crate::support::random::Random;
use crate::support::{notice, process, setting, turn};

use super::adversary::{Adversary, hello};
use super::{Standing, assert_logs, identifiers};

/// What the noise may cost a member in memory.
const BYTES: u64 = 96 << 20;
const CLIENTS: usize = 6;
/// Connections that stand around at two members.
const CROWD: usize = 3000;

/// Makes noise at a cluster whose clients must not notice.
fn undisturbed(test: &str, noise: impl FnOnce(&mut Cluster, &mut Random)) {
    let _turn = turn::alone();
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut plan = Plan::new(3);
    plan.through_network = false;
    let mut cluster = plan.start();
    cluster.leader();
    let workload = Workload::start(cluster.endpoints(), CLIENTS, &mut random);
    assert!(workload.await_writes(20, super::PATIENCE));
    let before = Standing::of(&cluster, &[0, 1, 2]);
    let memory = |cluster: &Cluster| -> Vec<u64> {
        let pids = cluster.members.iter().map(|member| member.pid());
        pids.map(process::resident_bytes).collect()
    };
    let memory_before = memory(&cluster);
    noise(&mut cluster, &mut random);
    assert!(workload.await_writes(20, super::PATIENCE));
    cluster.assert_all_live();
    assert_eq!(Standing::of(&cluster, &[0, 1, 2]), before);
    for (before, after) in memory_before.iter().zip(memory(&cluster)) {
        assert!(
            after < before + BYTES,
            "{before} bytes before, {after} after"
        );
    }
    assert_sound(test, &workload.finish(), &cluster);
}

#[test]
fn garbage_at_the_peer_port() {
    undisturbed("garbage_at_the_peer_port", |cluster, random| {
        let (id, members) = identifiers(cluster);
        let mut greeting = Output::default();
        hello(id, members[1], members[0]).push(&mut greeting);
        let greeting = greeting.to_vec();
        let rounds = setting("REEVE_GARBAGE", 200);
        for round in 0..rounds {
            let member = &cluster.members[(round % 3) as usize];
            let mut adversary = Adversary::connect(member.peer_port());
            let bytes = match random.below(4) {
                0 => random.bytes(1 + (round as usize * 37) % 4000),
                1 => [MAGIC.as_slice(), &random.bytes(200)].concat(),
                // A greeting with one bit changed.
                2 => {
                    let mut bytes = greeting.clone();
                    let at = random.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << random.below(8);
                    bytes
                }
                // A greeting that ends too soon.
                _ => greeting[..random.below(greeting.len() as u64) as usize].to_vec(),
            };
            adversary.send(&bytes);
        }
        assert_logs(
            &cluster.members[0],
            &["rejected", "the greeting cannot be read"],
        );
    });
}

#[test]
fn connections_that_say_nothing() {
    undisturbed("connections_that_say_nothing", |cluster, _| {
        process::allow_many_files();
        let silent: Vec<Adversary> = (0..900)
            .map(|number| Adversary::connect(cluster.members[number % 3].peer_port()))
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        drop(silent);
    });
}

/// More connections than a member serves at a time stand around; a member that starts again gets through to the others all
/// the same. Each in the crowd says one of these things.
fn a_crowd_keeps_no_member_out(test: &str, says: &'static [&'static [u8]]) {
    let _turn = turn::alone();
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    process::allow_many_files();
    let mut plan = Plan::new(3);
    plan.through_network = false;
    let mut cluster = plan.start();
    cluster.leader();
    cluster.kill(2);
    cluster.leader_other_than(Some(2));
    let before = Standing::of(&cluster, &[0, 1]);
    let ports = [0, 1].map(|member: usize| cluster.members[member].peer_port());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let crowd = std::thread::spawn(move || {
        let mut crowd = VecDeque::new();
        let mut number = 0;
        while !stopped.load(Ordering::Relaxed) {
            let Ok(mut one) = TcpStream::connect(("127.0.0.1", ports[number % 2])) else {
                continue;
            };
            let _ = one.write_all(says[number / 2 % says.len()]);
            crowd.push_back(one);
            if crowd.len() > CROWD {
                crowd.pop_front();
                // Those that are closed are replaced all the time.
                std::thread::sleep(Duration::from_millis(1));
            }
            number += 1;
        }
    });
    std::thread::sleep(Duration::from_secs(3));
    // It serves only when the others have heard it, and it them.
    cluster.start_again(2);
    assert_eq!(Standing::of(&cluster, &[0, 1]), before);
    assert_eq!(Standing::of(&cluster, &[2]).0[0], before.0[0]);
    stop.store(true, Ordering::Relaxed);
    crowd.join().expect("the crowd goes home");
}

#[test]
fn a_crowd_at_the_peer_port_keeps_no_member_out() {
    let says: &[&[u8]] = &[b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n", b""];
    a_crowd_keeps_no_member_out("a_crowd_at_the_peer_port_keeps_no_member_out", says);
}

/// Whoever says that a member speaks, and then nothing, is no member yet.
#[test]
fn a_crowd_that_only_begins_to_greet_keeps_no_member_out() {
    let says: &[&[u8]] = &[MAGIC];
    a_crowd_keeps_no_member_out(
        "a_crowd_that_only_begins_to_greet_keeps_no_member_out",
        says,
    );
}

type Misbehaviour = Box<dyn Fn(&mut Adversary, &mut Random)>;

/// A link that was welcomed, and then breaks the rules: the third member's, which is down.
#[test]
fn a_link_that_breaks_the_rules() {
    let test = "a_link_that_breaks_the_rules";
    let _turn = turn::alone();
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut plan = Plan::new(3);
    plan.through_network = false;
    let mut cluster = plan.start();
    cluster.leader();
    let (id, members) = identifiers(&cluster);
    cluster.kill(2);
    cluster.leader_other_than(Some(2));
    // Until nobody expects the killed process any more.
    std::thread::sleep(Duration::from_secs(3));
    let before = Standing::of(&cluster, &[0, 1]);
    let huge = [&[0xff; 4][..], &[1, 4, 0, 0], &[0; 8]].concat();
    let later = [&[4, 0, 0, 0][..], &[200, 4, 0, 0], &[0; 8]].concat();
    let cases: Vec<(&str, Misbehaviour)> = vec![
        (
            "frame of 4294967295 bytes",
            Box::new(move |link, _| {
                link.send(&huge);
            }),
        ),
        (
            "frame of version 200",
            Box::new(move |link, _| {
                link.send(&later);
            }),
        ),
        (
            "wrong checksum",
            Box::new(|link, _| {
                link.send(&[[4, 0, 0, 0].as_slice(), &[1, 4, 0, 0], &[7; 12]].concat());
            }),
        ),
        (
            "",
            Box::new(|link, random| {
                link.send_frame(FrameKind::Message, &random.bytes(400));
            }),
        ),
    ];
    for (text, misbehave) in cases {
        let (mut link, answer) = Adversary::greet(
            cluster.members[0].peer_port(),
            &hello(id, members[2], members[0]),
        );
        answer.expect("the third member is welcome");
        misbehave(&mut link, &mut random);
        assert!(link.is_closed_within(super::PATIENCE), "{text}");
        assert_logs(&cluster.members[0], &["ended a link", text]);
    }
    assert_eq!(Standing::of(&cluster, &[0, 1]), before);
    cluster.start_again(2);
    assert_eq!(Standing::of(&cluster, &[0, 1, 2]).0[0], before.0[0]);
    notice(&format!(
        "{test}: every link ended with its reason in the log"
    ));
}
