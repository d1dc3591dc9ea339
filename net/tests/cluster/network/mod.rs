//! The network between the members: each is reached by the others through a port of its own here, and what flows from one
//! member to another can be held back, slowed down or cut, for each direction.
//!
//! Who has opened a connection is found by asking the kernel whose socket it is, so nothing is expected of the servers and
//! of what they say to each other.

mod owner;
mod pump;
mod tape;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::ports;

use tape::Recorder;

/// What happens to the bytes from one member to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// They pass.
    #[default]
    Open,
    /// They pass after this time, in order.
    Slow(Duration),
    /// They wait until the rule changes, like those of a network that loses all packets and then recovers: TCP repeats them.
    Held,
    /// The connections between the two end, and new ones are closed at once. This holds for both directions.
    Cut,
}

/// The rules, by `from * members + to`.
#[derive(Clone)]
struct Rules {
    members: usize,
    rules: Vec<Rule>,
}

impl Rules {
    fn get(&self, way: Way) -> Rule {
        // Connections of the tests themselves know no rule.
        let Some(from) = way.from else {
            return Rule::Open;
        };
        let Some(to) = way.to else {
            return Rule::Open;
        };
        self.rules[from * self.members + to]
    }

    fn is_cut(&self, way: Way) -> bool {
        self.get(way) == Rule::Cut || self.get(way.back()) == Rule::Cut
    }
}

/// A direction between two members; none stands for somebody else.
#[derive(Clone, Copy, Debug)]
struct Way {
    from: Option<usize>,
    to: Option<usize>,
}

impl Way {
    fn back(self) -> Way {
        Way {
            from: self.to,
            to: self.from,
        }
    }
}

/// The proxy; it ends when it is dropped.
pub struct Network {
    rules: watch::Sender<Rules>,
    processes: Arc<Mutex<Vec<Option<u32>>>>,
    ports: Vec<u16>,
    recorder: Recorder,
    /// Where the proxy runs.
    _runtime: tokio::runtime::Runtime,
}

const ATTEMPTS: usize = 20;

/// Listens on a free port. One may be taken by somebody else between being found and being used.
async fn listen() -> (u16, TcpListener) {
    for _ in 0..ATTEMPTS {
        let port = ports::free();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return (port, listener);
        }
    }
    panic!("{ATTEMPTS} ports that were free could not be listened on");
}

impl Network {
    /// A network whose members listen on these ports.
    pub fn new(listening: &[u16]) -> Network {
        let members = listening.len();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (rules, followed) = watch::channel(Rules {
            members,
            rules: vec![Rule::Open; members * members],
        });
        let processes = Arc::new(Mutex::new(vec![None; members]));
        let recorder = Recorder::default();
        let mut ports = Vec::new();
        for (member, target) in listening.iter().enumerate() {
            let (port, listener) = runtime.block_on(listen());
            let door = Door {
                member,
                target: SocketAddr::from(([127, 0, 0, 1], *target)),
                rules: followed.clone(),
                processes: Arc::clone(&processes),
                recorder: recorder.clone(),
            };
            runtime.spawn(door.serve(listener));
            ports.push(port);
        }
        Network {
            rules,
            processes,
            ports,
            recorder,
            _runtime: runtime,
        }
    }

    /// The port under which the others reach a member.
    pub fn port(&self, member: usize) -> u16 {
        self.ports[member]
    }

    /// What keeps what the members say, once it is started.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Tells the network which process a member is now.
    pub fn set_process(&self, member: usize, process: u32) {
        let processes = self.processes.lock();
        let mut processes = processes.unwrap_or_else(PoisonError::into_inner);
        processes[member] = Some(process);
    }

    /// Sets the rule for one direction.
    pub fn set(&self, from: usize, to: usize, rule: Rule) {
        self.rules.send_modify(|rules| {
            let at = from * rules.members + to;
            rules.rules[at] = rule;
        });
    }

    /// Sets the rule for both directions between a member and each of the others.
    pub fn isolate(&self, member: usize, rule: Rule) {
        for other in (0..self.ports.len()).filter(|other| *other != member) {
            self.set(member, other, rule);
            self.set(other, member, rule);
        }
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.rules.send_modify(|rules| rules.rules.fill(Rule::Open));
    }
}

/// Where one member is reached.
#[derive(Clone)]
struct Door {
    member: usize,
    target: SocketAddr,
    rules: watch::Receiver<Rules>,
    processes: Arc<Mutex<Vec<Option<u32>>>>,
    recorder: Recorder,
}

impl Door {
    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, from)) = listener.accept().await {
            tokio::spawn(self.clone().pass(stream, from));
        }
    }

    /// The life of one connection.
    async fn pass(mut self, near: TcpStream, from: SocketAddr) {
        let processes = || {
            let processes = self.processes.lock();
            processes.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let way = Way {
            from: owner::find(from.port(), processes).await,
            to: Some(self.member),
        };
        let mut rules = self.rules.clone();
        let carried = async {
            // Not even a connection comes about while one direction is held.
            for way in [way, way.back()] {
                let open = |rules: &Rules| rules.get(way) != Rule::Held;
                if self.rules.wait_for(open).await.is_err() {
                    return;
                }
            }
            let Ok(far) = TcpStream::connect(self.target).await else {
                return;
            };
            let tape = self.recorder.tape(self.member);
            pump::both_ways(near, far, way, &self.rules, tape).await;
        };
        tokio::select! {
            () = carried => {}
            _ = rules.wait_for(|rules| rules.is_cut(way)) => {}
        }
    }
}
