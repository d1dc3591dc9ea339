//! A name server of this process, and programs that ask it instead of the system's.

use simple_dns::rdata::{A, RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::notice;

/// Every host of the records is here.
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Answers for the hosts of some services until it is dropped.
pub struct NameServer {
    address: Ipv4Addr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Serves `(service, host, port)`. None, with a printed reason, where it is not permitted; where nothing may be skipped
    /// that is a failure.
    pub fn start(test: &str, records: Vec<(String, String, u16)>) -> Option<NameServer> {
        let address = Ipv4Addr::new(127, 77, 0, 53);
        let bound = UdpSocket::bind((address, 53));
        let unshared = Command::new("unshare").args(["--mount", "true"]).status();
        let socket = match (bound, unshared) {
            (Ok(socket), Ok(status)) if status.success() => socket,
            (bound, unshared) => {
                let text = format!(
                    "skipped {test}: no name server of its own is permitted here: {:?}, unshare: {unshared:?}",
                    bound.err()
                );
                assert!(std::env::var("REEVE_REQUIRE_ORACLE").is_err(), "{text}");
                notice(&text);
                return None;
            }
        };
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a timeout");
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !until.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let answer = answer(&buffer[..length], &records);
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Some(NameServer {
            address,
            ends,
            thread: Some(thread),
        })
    }

    /// A program that runs `program` with this name server in the place of the system's.
    pub fn wrapped(&self, program: &Path, folder: &Path) -> PathBuf {
        let resolv = folder.join("resolv.conf");
        fs::write(&resolv, format!("nameserver {}\n", self.address)).expect("a file");
        let name = program.file_name().expect("a name").to_string_lossy();
        let inner = folder.join(format!("{name}-inside"));
        let outer = folder.join(name.as_ref());
        script(
            &inner,
            &format!(
                "mount --bind {} /etc/resolv.conf\nexec {} \"$@\"",
                resolv.display(),
                program.display()
            ),
        );
        script(
            &outer,
            &format!("exec unshare --mount {} \"$@\"", inner.display()),
        );
        outer
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\nset -e\n{text}\n")).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("its mode");
}

fn answer(query: &[u8], records: &[(String, String, u16)]) -> Vec<u8> {
    let query = Packet::parse(query).expect("a question");
    let question = query.questions[0].clone();
    let mut answer = Packet::new_reply(query.id());
    answer.set_flags(PacketFlag::RECURSION_AVAILABLE);
    let is_asked = |name: &str| Name::new(name).expect("a name") == question.qname;
    let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, 1, data);
    let mut is_known = false;
    for (service, host, port) in records {
        if is_asked(host) {
            is_known = true;
            if question.qtype == QTYPE::TYPE(TYPE::A) && answer.answers.is_empty() {
                let here = A {
                    address: HERE.into(),
                };
                answer.answers.push(record(RData::A(here)));
            }
        }
        if is_asked(service) && question.qtype == QTYPE::TYPE(TYPE::SRV) {
            is_known = true;
            let srv = SRV {
                priority: 0,
                weight: 0,
                port: *port,
                target: Name::new(host).expect("a name"),
            };
            answer.answers.push(record(RData::SRV(srv)));
        }
    }
    if !is_known {
        *answer.rcode_mut() = RCODE::NameError;
    }
    answer.questions.push(question.clone());
    answer.build_bytes_vec().expect("an answer")
}
