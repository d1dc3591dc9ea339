//! A cluster of servers on this machine, and what can be done to its members.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use reeve_api::etcdserverpb::{
    MoveLeaderRequest, MoveLeaderResponse, StatusRequest, StatusResponse, maintenance_methods,
};
use rustix::process::Signal;

use crate::network::Network;
use crate::support::grpc::Client;
use crate::support::server::{Launch, Membership, Server};
use crate::support::{notice, ports, process, programs, run};

/// How long a cluster may be without a leader before that counts as a failure.
const LEADER_PATIENCE: Duration = Duration::from_secs(60);
/// How long one status call may take.
const STATUS_PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);

/// Whether the server under test forms clusters. One that refuses is not tested further, which is printed.
pub fn forms_clusters(test: &str) -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    let answer = *ANSWER.get_or_init(|| {
        let mut server = Launch::under_test()
            .argument("--initial-advertise-peer-urls=http://127.0.0.1:1")
            .argument("--initial-cluster=default=http://127.0.0.1:1,other=http://127.0.0.1:2")
            .spawn();
        let refused = |line: &String| line.contains("does not support clusters");
        let refused = |lines: &[String]| lines.iter().any(refused);
        let goes_on = !server.stderr.wait(Duration::from_secs(2), refused);
        server.kill();
        goes_on
    });
    if !answer {
        notice(&format!(
            "skipped {test}: the server under test refuses to be one member of several"
        ));
    }
    answer
}

/// A cluster to be started.
pub struct Plan {
    pub program: PathBuf,
    pub members: usize,
    /// Whether what the members say to each other goes through a [`Network`].
    pub through_network: bool,
    /// Ports for clients and for members, instead of any that are free.
    pub ports: Vec<(u16, u16)>,
}

impl Plan {
    /// So many of the server under test.
    pub fn new(members: usize) -> Plan {
        Plan {
            program: programs::under_test(),
            members,
            through_network: true,
            ports: (0..members)
                .map(|_| (ports::free(), ports::free()))
                .collect(),
        }
    }

    /// Another program.
    pub fn program(mut self, program: PathBuf) -> Plan {
        self.program = program;
        self
    }

    /// With nothing between the members.
    pub fn directly(mut self) -> Plan {
        self.through_network = false;
        self
    }

    /// With these ports for clients and for members, and nothing between the members.
    pub fn on_ports(mut self, ports: &[(u16, u16)]) -> Plan {
        self.ports = ports.to_vec();
        self.directly()
    }

    /// Starts all members.
    pub fn start(self) -> Cluster {
        self.start_with(|_, launch| launch)
    }

    /// Starts all members after `change` has seen to how each is started.
    pub fn start_with(self, change: impl Fn(usize, Launch) -> Launch) -> Cluster {
        let listening: Vec<u16> = self.ports.iter().map(|(_, peer)| *peer).collect();
        let network = self.through_network.then(|| Network::new(&listening));
        let reached = |member: usize| match &network {
            Some(network) => network.port(member),
            None => listening[member],
        };
        let initial_cluster = (0..self.members)
            .map(|member| format!("{}={}", name(member), url(reached(member))))
            .collect::<Vec<_>>()
            .join(",");
        let launches = (0..self.members).map(|member| {
            let launch = Launch::program(self.program.clone())
                .client_port(self.ports[member].0)
                .peer_port(listening[member])
                .membership(Membership {
                    name: name(member),
                    peer_url: url(reached(member)),
                    initial_cluster: initial_cluster.clone(),
                });
            change(member, launch)
        });
        Cluster::start(self.program.clone(), launches.collect(), network)
    }
}

/// The name of a member, from 1 on.
pub fn name(member: usize) -> String {
    format!("m{}", member + 1)
}

/// The URL under which members reach one that listens on this port.
pub fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Running members; dropping it kills them.
pub struct Cluster {
    pub program: PathBuf,
    pub members: Vec<Server>,
    network: Option<Network>,
}

impl Cluster {
    /// Starts members, and waits until each says that it serves.
    pub fn start(program: PathBuf, launches: Vec<Launch>, network: Option<Network>) -> Cluster {
        let members: Vec<Server> = launches.into_iter().map(Launch::spawn).collect();
        let mut cluster = Cluster {
            program,
            members,
            network,
        };
        for member in 0..cluster.members.len() {
            cluster.tell_process(member);
        }
        for member in 0..cluster.members.len() {
            cluster.assert_ready(member);
        }
        cluster
    }

    fn tell_process(&self, member: usize) {
        if let Some(network) = &self.network {
            network.set_process(member, self.members[member].pid());
        }
    }

    fn assert_ready(&mut self, member: usize) {
        let ready = self.members[member].becomes_ready();
        assert!(
            ready,
            "{} does not serve:\n{}",
            name(member),
            self.printed()
        );
    }

    /// What the members have printed, for messages.
    pub fn printed(&mut self) -> String {
        let mut text = String::new();
        for (member, server) in self.members.iter_mut().enumerate() {
            text.push_str(&format!("-- {}\n{}", name(member), server.printed()));
        }
        text
    }

    /// The network between the members.
    pub fn network(&self) -> &Network {
        self.network
            .as_ref()
            .expect("this cluster is started through a network")
    }

    /// Where clients reach each member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Server::endpoint).collect()
    }

    /// Starts one more member, and waits until it serves; its place.
    pub fn adopt(&mut self, launch: Launch) -> usize {
        self.members.push(launch.spawn());
        let place = self.members.len() - 1;
        self.assert_ready(place);
        place
    }

    /// Kills a member (SIGKILL).
    pub fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Starts a member again that has ended, and waits until it serves.
    pub fn start_again(&mut self, member: usize) {
        self.spawn_again(member);
        self.assert_ready(member);
    }

    /// Starts a member again that has ended, and does not wait for it.
    pub fn spawn_again(&mut self, member: usize) {
        assert!(!self.members[member].lives(), "{} runs", name(member));
        self.members[member] = self.members[member].launch().spawn();
        self.tell_process(member);
    }

    /// Stops a member in its tracks (SIGSTOP).
    pub fn pause(&self, member: usize) {
        process::signal(self.members[member].pid(), Signal::STOP);
    }

    /// Lets a paused member go on.
    pub fn resume(&self, member: usize) {
        process::signal(self.members[member].pid(), Signal::CONT);
    }

    /// Fails if a member has ended.
    pub fn assert_all_live(&mut self) {
        let ended = (0..self.members.len()).find(|member| !self.members[*member].lives());
        if let Some(member) = ended {
            panic!("{} has ended:\n{}", name(member), self.printed());
        }
    }

    /// Waits until a majority agrees on a leader; its index.
    pub fn leader(&mut self) -> usize {
        self.leader_other_than(None)
    }

    /// Waits until a majority agrees on a leader that is not `old`; its index.
    pub fn leader_other_than(&mut self, old: Option<usize>) -> usize {
        let end = Instant::now() + LEADER_PATIENCE;
        loop {
            let endpoints = self.endpoints();
            let statuses = run(statuses(&endpoints));
            let found = agreed_leader(&statuses).filter(|leader| Some(*leader) != old);
            if let Some(leader) = found {
                return leader;
            }
            assert!(
                Instant::now() < end,
                "no leader in {LEADER_PATIENCE:?}: {statuses:?}\n{}",
                self.printed()
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Makes a member the leader.
    pub fn lead(&mut self, member: usize) {
        let end = Instant::now() + LEADER_PATIENCE;
        loop {
            let leader = self.leader();
            if leader == member {
                return;
            }
            assert!(
                Instant::now() < end,
                "the leader does not move:\n{}",
                self.printed()
            );
            run(move_leader(&self.endpoints(), leader, member));
            std::thread::sleep(PAUSE);
        }
    }

    /// A member that does not lead.
    pub fn follower(&mut self) -> usize {
        (self.leader() + 1) % self.members.len()
    }
}

/// How a member is started that joins a cluster, to which it has been added.
pub fn newcomer(cluster: &Cluster, name: &str, client_port: u16, peer_port: u16) -> Launch {
    let present = cluster.members.iter();
    let present = present.map(|server| format!("{}={}", server.name(), url(server.peer_port())));
    let itself = format!("{name}={}", url(peer_port));
    let initial_cluster: Vec<String> = present.chain([itself]).collect();
    Launch::program(cluster.program.clone())
        .client_port(client_port)
        .peer_port(peer_port)
        .membership(Membership {
            name: name.to_string(),
            peer_url: url(peer_port),
            initial_cluster: initial_cluster.join(","),
        })
        .argument("--initial-cluster-state=existing")
}

/// What each member says of itself, if it answers soon.
pub async fn statuses(endpoints: &[String]) -> Vec<Option<StatusResponse>> {
    let asked = endpoints
        .iter()
        .map(|endpoint| tokio::time::timeout(STATUS_PATIENCE, status(endpoint)));
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await.ok().flatten());
    }
    answers
}

async fn move_leader(endpoints: &[String], from: usize, to: usize) {
    let statuses = statuses(endpoints).await;
    let target = statuses[to]
        .as_ref()
        .and_then(|status| status.header.as_ref());
    let Some(target) = target.map(|header| header.member_id) else {
        return;
    };
    let mut client = Client::connect(&endpoints[from]).await;
    let request = MoveLeaderRequest { target_id: target };
    // It may fail when the leader has just changed; the caller looks and tries again.
    let _moved: Result<MoveLeaderResponse, _> = client
        .call(maintenance_methods::MOVE_LEADER, &request)
        .await;
}

async fn status(endpoint: &str) -> Option<StatusResponse> {
    let mut client = Client::try_connect(endpoint, STATUS_PATIENCE).await.ok()?;
    let request = StatusRequest::default();
    client
        .call(maintenance_methods::STATUS, &request)
        .await
        .ok()
}

/// The member that more than half of all members, itself among them, follow in one term.
fn agreed_leader(statuses: &[Option<StatusResponse>]) -> Option<usize> {
    let position = |leader: u64| {
        statuses.iter().position(|status| {
            let header = status.as_ref().and_then(|status| status.header.as_ref());
            header.is_some_and(|header| header.member_id == leader)
        })
    };
    let term = statuses
        .iter()
        .flatten()
        .map(|status| status.raft_term)
        .max()?;
    let in_term = || {
        let known = statuses.iter().flatten();
        known.filter(|status| status.raft_term == term && status.leader != 0)
    };
    let leader = in_term().next()?.leader;
    let followers = in_term().filter(|status| status.leader == leader).count();
    let itself = position(leader)?;
    let agrees = statuses[itself]
        .as_ref()
        .is_some_and(|status| status.leader == leader && status.raft_term == term);
    (agrees && followers * 2 > statuses.len()).then_some(itself)
}
