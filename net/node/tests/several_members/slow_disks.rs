//! Leaders whose disks have become slow.

use super::Cluster;
use reeve_engine::command::{Body, Put};
use reeve_engine::disk::simulated::{Request, Verdict};
use reeve_engine::disk::{Action, SimulatedMedium};
use reeve_raft::MemberId;

/// Has every write and flush of the log take so many milliseconds.
fn slow_down(medium: &SimulatedMedium, milliseconds: u64) {
    medium.set_host(move |request: &Request<'_>| {
        let is_log = request.path.starts_with("/wal");
        match request.action {
            Action::Write | Action::Sync if is_log => Verdict::after(milliseconds * 1_000_000),
            _ => Verdict::PROMPT,
        }
    });
}

/// Writes with each tick until another member leads; the milliseconds that it took.
fn until_another_leads(cluster: &mut Cluster, old: MemberId, longest_ms: u64) -> Option<u64> {
    let begun = cluster.now_ms;
    while cluster.now_ms < begun + longest_ms {
        let put = Body::Put(Put {
            key: b"a",
            ..Put::default()
        });
        let (_, command) = cluster.command(old, &put);
        let _ = cluster.node(old).propose(command);
        cluster.tick();
        if cluster.leader().is_some_and(|leader| leader != old) {
            return Some(cluster.now_ms - begun);
        }
    }
    None
}

#[test]
fn a_leader_whose_disk_is_slow_hands_over() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let leader = cluster.leader().unwrap();
    cluster.put(leader, b"a", b"1");
    slow_down(&cluster.media[&leader], 600);
    let took = until_another_leads(&mut cluster, leader, 20_000).unwrap();
    assert!((3000..=5000).contains(&took), "{took} ms");
    assert!(
        cluster
            .notices
            .iter()
            .any(|notice| notice.contains("disk is slow"))
    );
}

#[test]
fn among_slow_disks_nobody_hands_over() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let leader = cluster.leader().unwrap();
    cluster.put(leader, b"a", b"1");
    for medium in cluster.media.values() {
        slow_down(medium, 600);
    }
    assert_eq!(until_another_leads(&mut cluster, leader, 10_000), None);
}

#[test]
fn a_disk_that_is_slow_for_a_moment_is_no_reason_to_hand_over() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let leader = cluster.leader().unwrap();
    cluster.put(leader, b"a", b"1");
    for milliseconds in [600, 0, 600, 0] {
        slow_down(&cluster.media[&leader], milliseconds);
        assert_eq!(until_another_leads(&mut cluster, leader, 2_000), None);
    }
}
