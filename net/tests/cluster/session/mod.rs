//! etcdctl sessions with clusters of three and five members, one of which is killed in between and comes back; and the
//! commands that show and change the cluster itself. The form of the scripts is that of `end_to_end/session`; a cluster knows
//! these steps besides:
//!
//! ```text
//! % kill          kills the member whose turn it is, and waits for the others to agree on a leader
//! % start         starts it again
//! % lead 2        makes the second member the leader
//! % join m4       starts a member with this name on the spare ports, which has been added before
//! % gone 3        waits until the third member has ended by itself; those after it move up
//! % gone last     the same of the member that came last
//! % ask 4         from here on commands ask the fourth member alone
//! % ask first     from here on they ask those that were there in the beginning
//! ```
//!
//! `{SPARE}` is the port on which a member that joins listens for the others, `{SECOND}` that of the second member.
//!
//! Both sides run on the same ports, one after the other, so that etcd and the server under test give their members the same
//! identifiers.

#[path = "../../end_to_end/session/mask.rs"]
mod mask;
#[path = "../../end_to_end/session/order.rs"]
mod order;
#[path = "../../end_to_end/session/run.rs"]
mod run;
#[path = "../../end_to_end/session/script.rs"]
mod script;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::members::{Cluster, Plan, forms_clusters, newcomer};
use crate::support::etcdctl::Etcdctl;
use crate::support::programs::{self, Oracle};
use crate::support::{ports, turn};

use mask::Mask;
use run::{Subject, Transcript};
use script::Script;

/// A cluster under a script.
struct Stage {
    cluster: Cluster,
    /// Where a member that joins listens for clients and for members.
    spare: (u16, u16),
    /// Where the second member listens for the others.
    second: u16,
    /// The member that `% kill` kills.
    victim: usize,
    /// Whom commands ask.
    asked: String,
    /// All members that were there in the beginning.
    first: String,
}

impl Subject for Stage {
    fn endpoints(&self) -> String {
        self.asked.clone()
    }

    fn mask(&self, etcdctl: &Etcdctl) -> Mask {
        let members: Vec<u64> = run::headers(etcdctl)
            .iter()
            .map(|header| header.1)
            .collect();
        Mask::of_cluster(&members)
    }

    fn names(&self) -> BTreeMap<String, String> {
        let ports = [("SPARE", self.spare.1), ("SECOND", self.second)];
        let named = ports.map(|(name, port)| (name.to_string(), port.to_string()));
        BTreeMap::from(named)
    }

    fn strike(&mut self, what: &str) {
        match what.split_once(' ').unwrap_or((what, "")) {
            ("kill", "") => {
                self.cluster.kill(self.victim);
                self.cluster.leader_other_than(Some(self.victim));
            }
            ("join", name) => {
                let (client, peer) = self.spare;
                let launch = newcomer(&self.cluster, name, client, peer);
                self.cluster.adopt(launch);
            }
            ("gone", number) => {
                let number = match number {
                    "last" => self.cluster.members.len(),
                    number => number.parse().expect("the number of a member"),
                };
                let end = self.cluster.members.remove(number - 1).refusal();
                assert_eq!(end.code, Some(0), "{}", end.stderr);
            }
            ("ask", "first") => self.asked = self.first.clone(),
            ("ask", number) => {
                let number: usize = number.parse().expect("the number of a member");
                self.asked = self.cluster.members[number - 1].endpoint();
            }
            ("start", "") => self.cluster.start_again(self.victim),
            ("lead", number) => {
                let number: usize = number.parse().expect("the number of a member");
                self.cluster.lead(number - 1);
            }
            _ => panic!("nothing called {what} can be done to a cluster"),
        }
    }

    fn assert_lives(&mut self) {
        self.cluster.assert_all_live();
    }
}

/// The ports of a cluster, to be used by both sides in turn.
struct Ports {
    members: Vec<(u16, u16)>,
    spare: (u16, u16),
}

impl Ports {
    fn free(members: usize) -> Ports {
        let pair = || (ports::free(), ports::free());
        Ports {
            members: (0..members).map(|_| pair()).collect(),
            spare: pair(),
        }
    }

    fn start(&self, program: PathBuf) -> Cluster {
        Plan::new(self.members.len())
            .program(program)
            .on_ports(&self.members)
            .start()
    }
}

fn script(name: &str) -> Script {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/session");
    Script::read(&folder.join(format!("{name}.session")))
}

fn assert_alike(name: &str, expected: &Transcript, actual: &Transcript) {
    let mistakes = &expected.mistakes;
    assert!(
        mistakes.is_empty(),
        "{name} is not sound: {}",
        mistakes.join("\n")
    );
    let differences = expected.differences(actual);
    assert!(
        differences.is_empty(),
        "{name}: {} steps differ (- etcd, + under test):\n\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Runs a script against etcd and against the server under test, the latter once for each member that is killed.
fn compare(test: &str, name: &str, members: usize, victims: impl IntoIterator<Item = usize>) {
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let Some(oracle) = Oracle::find(test) else {
        return;
    };
    let script = script(name);
    let ports = Ports::free(members);
    let play = |program: PathBuf, victim: usize| {
        let cluster = ports.start(program);
        let first = cluster.endpoints().join(",");
        let stage = Stage {
            cluster,
            spare: ports.spare,
            second: ports.members[1].1,
            victim,
            asked: first.clone(),
            first,
        };
        run::run(&script, stage, oracle.etcdctl())
    };
    let expected = play(oracle.etcd(), 0);
    for victim in victims {
        let actual = play(programs::under_test(), victim);
        assert_alike(
            &format!("{test}, member {} killed", victim + 1),
            &expected,
            &actual,
        );
    }
}

#[test]
fn three_members_one_killed() {
    compare("three_members_one_killed", "killed", 3, 0..3);
}

#[test]
fn five_members_one_killed() {
    compare("five_members_one_killed", "killed", 5, 0..5);
}

#[test]
fn the_cluster_shows_itself() {
    compare("the_cluster_shows_itself", "members", 3, [0]);
}

#[test]
fn members_come_and_go() {
    compare("members_come_and_go", "changes", 3, [0]);
}

#[test]
fn five_members_show_themselves() {
    compare("five_members_show_themselves", "members", 5, [0]);
}

#[test]
fn members_come_to_five_and_go() {
    compare("members_come_to_five_and_go", "changes", 5, [0]);
}

#[test]
fn a_learner_alone() {
    compare("a_learner_alone", "learner", 3, [0]);
}

#[test]
fn changes_that_are_refused() {
    compare("changes_that_are_refused", "refusals", 3, [0]);
}
