//! Members whose disk is full while the others have room.

use super::Cluster;

/// Well above what arrives at once, as with real segments.
const SEGMENT: u64 = 1 << 20;

/// Overwrites one key through the leader: the log grows, the store does not.
fn overwrite(cluster: &mut Cluster, times: u64) {
    let leader = cluster.leader().unwrap();
    for number in 0..times {
        let revision = cluster.put(leader, b"always the same", &[number as u8; 900]);
        if number % 20 == 0 {
            cluster.compact(leader, revision);
            cluster.tick();
        }
    }
}

/// What the log keeps for members that lag is given up for the room, so that the member needs no more than the others
/// for what they hold: it has everything in the end without one more byte.
#[test]
fn a_follower_with_a_full_disk_goes_on_in_the_room_of_its_log() {
    let mut cluster = Cluster::with_segments(3, 0, 1 << 20, SEGMENT);
    overwrite(&mut cluster, 20);
    let follower = cluster.follower();
    let used = cluster.media[&follower].used();
    cluster.media[&follower].set_capacity(used + 2 * SEGMENT);
    overwrite(&mut cluster, 6000);
    let said = |lines: &[String]| {
        lines
            .iter()
            .any(|line| line.starts_with("the disk is full"))
    };
    assert!(said(&cluster.notices), "the disk never was full");
    cluster.wait_for_agreement(&[1, 2, 3]);
}

/// A member whose disk cannot even hold what the others have does not keep in memory what it cannot write, and has it soon
/// after it has got room.
#[test]
fn a_follower_with_a_full_disk_catches_up_when_there_is_room() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let leader = cluster.leader().unwrap();
    let follower = cluster.follower();
    let used = cluster.media[&follower].used();
    cluster.media[&follower].set_capacity(used + (256 << 10));
    for number in 0..1500 {
        cluster.put(leader, format!("grows {number}").as_bytes(), &[7; 900]);
        if number % 20 == 0 {
            cluster.tick();
        }
    }
    assert!(cluster.members[&follower].node.status().no_space);
    assert_eq!(cluster.value(follower, b"grows 1499"), None);
    cluster.restart(follower);
    cluster.wait_until(|cluster| cluster.leader().is_some());
    cluster.media[&follower].set_capacity(u64::MAX);
    cluster.wait_for_agreement(&[1, 2, 3]);
    assert_eq!(cluster.value(follower, b"grows 1499"), Some(vec![7; 900]));
}

/// On a full disk every quiet moment makes the log as short as it can be, not only the first.
#[test]
fn a_member_with_a_full_disk_cuts_its_log_again_and_again() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    cluster.checkpoint_entries = 1 << 40;
    cluster.restart(follower);
    cluster.wait_until(|cluster| cluster.leader().is_some());
    // What the log gives up makes no room: somebody else takes it at once.
    let tick = |cluster: &mut Cluster| {
        let medium = &cluster.media[&follower];
        medium.set_capacity(medium.used());
        cluster.tick();
    };
    let is_full = |cluster: &Cluster| cluster.members[&follower].node.status().no_space;
    for number in 0..1500 {
        cluster.put(leader, format!("grows {number}").as_bytes(), &[7; 900]);
        tick(&mut cluster);
        if number > 200 && is_full(&cluster) {
            break;
        }
    }
    for round in 0..3 {
        for _ in 0..3 {
            cluster.put(leader, b"more", b"v");
        }
        for _ in 0..40 {
            tick(&mut cluster);
        }
        assert!(is_full(&cluster), "{round}");
        let node = cluster.node(follower);
        let (applied, begins) = (node.state().applied_index, node.consensus().start_point());
        assert_eq!(begins.index, applied, "{round}");
    }
}
