//! Hosts of a test's own: network namespaces (ip-netns(8)), joined by a bridge.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::support::notice;

/// Where ip-netns(8) keeps what is special to a namespace, such as its `/etc/hosts`.
const SPECIAL: &str = "/etc/netns";

/// Groups of hosts that this process has made: tests run side by side, and the names of namespaces are the machine's.
static GROUPS: AtomicU32 = AtomicU32::new(0);

/// A host; it is removed at the end.
pub struct Host {
    name: String,
}

impl Host {
    /// A host with nothing but itself. None, with a printed reason, where that is not permitted.
    pub fn alone(test: &str) -> Option<Host> {
        let mut hosts = Host::several(test, &[])?;
        hosts.pop()
    }

    /// Hosts that reach each other by these names, and last one more that reaches them all. None, with a printed reason,
    /// where that is not permitted.
    pub fn several(test: &str, names: &[&str]) -> Option<Vec<Host>> {
        let (process, group) = (std::process::id(), GROUPS.fetch_add(1, Ordering::Relaxed));
        let hosts: Vec<Host> = (0..=names.len())
            .map(|number| Host {
                name: format!("reeve-{process}-{group}-{number}"),
            })
            .collect();
        if !hosts.iter().all(|host| ip(&["netns", "add", &host.name])) {
            notice(&format!(
                "skipped {test}: network namespaces are not permitted here, or iproute2 is missing"
            ));
            return None;
        }
        join(&hosts, names);
        Some(hosts)
    }

    /// A command that runs on this host, by a shell.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "sh", "-c", script]);
        command
    }

    /// Runs `work` on a thread that sees the network as this host does.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).expect("the namespace");
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).expect("the namespace");
                work()
            });
            entered
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn special(&self) -> PathBuf {
        PathBuf::from(SPECIAL).join(&self.name)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.name]);
        let _ = std::fs::remove_dir_all(self.special());
    }
}

/// The address of a named host.
pub fn address(number: usize) -> String {
    format!("10.213.0.{}", number + 1)
}

/// Gives each host a cable to the last one, where a bridge joins them.
fn join(hosts: &[Host], names: &[&str]) {
    let hub = &hosts[names.len()];
    let run = |host: &Host, arguments: &[&str]| {
        let done = ip(&[&["-n", &host.name], arguments].concat());
        assert!(done, "ip -n {} {arguments:?}", host.name);
    };
    for host in hosts {
        run(host, &["link", "set", "lo", "up"]);
    }
    if names.is_empty() {
        return;
    }
    run(hub, &["link", "add", "bridge", "type", "bridge"]);
    let own = format!("{}/24", address(names.len()));
    run(hub, &["address", "add", &own, "dev", "bridge"]);
    run(hub, &["link", "set", "bridge", "up"]);
    let mut known = String::from("127.0.0.1 localhost\n");
    for (number, name) in names.iter().enumerate() {
        known.push_str(&format!("{} {name}\n", address(number)));
    }
    for (number, host) in hosts[..names.len()].iter().enumerate() {
        let port = format!("port{number}");
        let cable = ["link", "add", "eth0", "type", "veth", "peer", "name", &port];
        run(host, &[&cable[..], &["netns", &hub.name]].concat());
        run(
            host,
            &[
                "address",
                "add",
                &format!("{}/24", address(number)),
                "dev",
                "eth0",
            ],
        );
        run(host, &["link", "set", "eth0", "up"]);
        run(hub, &["link", "set", &port, "master", "bridge"]);
        run(hub, &["link", "set", &port, "up"]);
        std::fs::create_dir_all(host.special()).expect("a folder");
        std::fs::write(host.special().join("hosts"), &known).expect("a file");
    }
}

fn ip(arguments: &[&str]) -> bool {
    let output = Command::new("ip").args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}
