//! A network that holds back, slows down or cuts what members say to each other, in one direction or both.

use std::thread;
use std::time::Duration;

use crate::history::assert_sound;
use crate::members::{Cluster, Plan, forms_clusters, name};
use crate::network::Rule;
use crate::support::random::Random;
use crate::support::{setting, turn};

use super::{assert_writes, begin, both, work_for_a_while};

/// What is done to the network; the cluster can serve all the time, if not through every member.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing of what a member says arrives.
    Mute,
    /// Nothing arrives at a member.
    Deaf,
    /// Both.
    Alone,
    /// All its connections end.
    Severed,
    /// The connections between two members end.
    Pair,
    /// What one member says to one other is held.
    OneWay,
    /// What a member says and hears takes its time, more than a heartbeat.
    Slow,
}

const FAULTS: [Fault; 7] = [
    Fault::Mute,
    Fault::Deaf,
    Fault::Alone,
    Fault::Severed,
    Fault::Pair,
    Fault::OneWay,
    Fault::Slow,
];

/// Brings a fault about; what it is, in words.
fn strike(cluster: &Cluster, fault: Fault, member: usize, random: &mut Random) -> String {
    let network = cluster.network();
    let members = cluster.members.len();
    let others = (0..members).filter(|other| *other != member);
    let other = (member + 1 + random.below(members as u64 - 1) as usize) % members;
    match fault {
        Fault::Mute => others.for_each(|other| network.set(member, other, Rule::Held)),
        Fault::Deaf => others.for_each(|other| network.set(other, member, Rule::Held)),
        Fault::Alone => network.isolate(member, Rule::Held),
        Fault::Severed => network.isolate(member, Rule::Cut),
        Fault::Pair => {
            network.set(member, other, Rule::Cut);
            network.set(other, member, Rule::Cut);
            return format!("{fault:?} of {}", both(member, other));
        }
        Fault::OneWay => {
            network.set(member, other, Rule::Held);
            return format!("{fault:?} from {} to {}", name(member), name(other));
        }
        Fault::Slow => network.isolate(member, Rule::Slow(Duration::from_millis(150))),
    }
    format!("{fault:?} {}", name(member))
}

/// Each kind of fault strikes the leader and a follower.
fn strike_again_and_again(test: &str, members: usize, faults: &[Fault]) {
    strike_in_order(test, members, faults, Random::announced(test));
}

fn strike_in_order(test: &str, members: usize, faults: &[Fault], mut random: Random) {
    let mut cluster = Plan::new(members).start();
    let workload = begin(&cluster, &mut random);
    for _ in 0..setting("REEVE_CUTS", 1) {
        for fault in faults {
            for of_leader in [true, false] {
                workload.next_round();
                let leader = cluster.leader();
                let member = if of_leader {
                    leader
                } else {
                    (leader + 1) % members
                };
                let what = strike(&cluster, *fault, member, &mut random);
                thread::sleep(Duration::from_millis(1500 + random.below(1500)));
                assert_writes(&workload, &mut cluster, &what);
                cluster.network().heal();
                work_for_a_while(&mut random);
                assert_writes(&workload, &mut cluster, &format!("after {what}"));
            }
        }
    }
    cluster.assert_all_live();
    assert_sound(test, &workload.finish(), &cluster);
}

#[test]
fn directions_are_held() {
    let _turn = turn::alone();
    if !forms_clusters("directions_are_held") {
        return;
    }
    let faults = [Fault::Mute, Fault::Deaf, Fault::OneWay];
    strike_again_and_again("directions_are_held", 3, &faults);
}

#[test]
fn members_are_cut_off() {
    let _turn = turn::alone();
    if !forms_clusters("members_are_cut_off") {
        return;
    }
    let faults = [Fault::Alone, Fault::Severed, Fault::Pair];
    strike_again_and_again("members_are_cut_off", 3, &faults);
}

#[test]
fn members_are_slow_to_reach() {
    let _turn = turn::alone();
    if !forms_clusters("members_are_slow_to_reach") {
        return;
    }
    strike_again_and_again("members_are_slow_to_reach", 3, &[Fault::Slow]);
}

#[test]
fn five_members_under_every_fault_of_the_network() {
    let _turn = turn::alone();
    if !forms_clusters("five_members_under_every_fault_of_the_network") {
        return;
    }
    let test = "five_members_under_every_fault_of_the_network";
    let mut random = Random::announced(test);
    let faults: Vec<Fault> = (0..3).map(|_| *random.pick(&FAULTS)).collect();
    strike_in_order(test, 5, &faults, random);
}
