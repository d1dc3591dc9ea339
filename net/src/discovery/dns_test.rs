//! The resolver against a server of this process, and what it reads from configurations and answers.

use super::*;
use crate::fuzz;
use simple_dns::ResourceRecord;
use simple_dns::rdata::SRV;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A record: name, priority, weight, port, target.
pub(in crate::discovery) type Record = (&'static str, u16, u16, u16, &'static str);

/// How a server answers.
#[derive(Clone, Copy, Default)]
pub(in crate::discovery) struct Manners {
    /// By UDP it only says that there is more.
    pub(in crate::discovery) cuts_off: bool,
    /// It sends answers to other questions first.
    pub(in crate::discovery) confuses: bool,
    /// It says that it is broken.
    pub(in crate::discovery) fails: bool,
}

/// A server of names on the loopback, until it is dropped.
pub(in crate::discovery) struct NameServer {
    pub(in crate::discovery) address: SocketAddr,
    /// Questions so far.
    pub(in crate::discovery) asked: Arc<AtomicU32>,
    ends: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl NameServer {
    pub(in crate::discovery) fn start(records: &[Record], manners: Manners) -> Self {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().unwrap();
        let (asked, ends) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let records = Arc::new(Mutex::new(records.to_vec()));
        let by_udp = {
            let (asked, ends) = (Arc::clone(&asked), Arc::clone(&ends));
            let records = Arc::clone(&records);
            std::thread::spawn(move || {
                let mut buffer = [0; 1500];
                while !ends.load(Ordering::Relaxed) {
                    let Ok((length, from)) = udp.recv_from(&mut buffer) else {
                        continue;
                    };
                    asked.fetch_add(1, Ordering::Relaxed);
                    let query = &buffer[..length];
                    if manners.confuses {
                        udp.send_to(b"nonsense", from).unwrap();
                        let mut other = query.to_vec();
                        other[0] ^= 0xff;
                        let other = answer(&other, &records.lock().unwrap(), Manners::default());
                        udp.send_to(&other, from).unwrap();
                    }
                    let answer = answer(query, &records.lock().unwrap(), manners);
                    udp.send_to(&answer, from).unwrap();
                }
            })
        };
        let by_tcp = {
            let ends = Arc::clone(&ends);
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    let Ok((mut stream, _)) = tcp.accept() else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    stream.set_nonblocking(false).unwrap();
                    let mut length = [0; 2];
                    stream.read_exact(&mut length).unwrap();
                    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut query).unwrap();
                    let manners = Manners {
                        cuts_off: false,
                        ..manners
                    };
                    let answer = answer(&query, &records.lock().unwrap(), manners);
                    let length = u16::try_from(answer.len()).unwrap();
                    // In two pieces, as networks do.
                    stream.write_all(&length.to_be_bytes()).unwrap();
                    stream.write_all(&answer).unwrap();
                }
            })
        };
        NameServer {
            address,
            asked,
            ends,
            threads: vec![by_udp, by_tcp],
        }
    }

    pub(in crate::discovery) fn resolver(&self) -> Resolver {
        Resolver {
            servers: vec![self.address],
            search: Vec::new(),
            dots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            by_tcp: false,
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// One port for both kinds of questions.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            tcp.set_nonblocking(true).unwrap();
            return (udp, tcp);
        }
    }
}

fn answer(query: &[u8], records: &[Record], manners: Manners) -> Vec<u8> {
    let query = Packet::parse(query).unwrap();
    let question = query.questions[0].clone();
    let mut answer = Packet::new_reply(query.id());
    if manners.fails {
        *answer.rcode_mut() = RCODE::ServerFailure;
    } else if manners.cuts_off {
        answer.set_flags(PacketFlag::TRUNCATION);
    } else {
        for (_, priority, weight, port, target) in records
            .iter()
            .filter(|record| Name::new(record.0).unwrap() == question.qname)
        {
            let target = Name::new(target).unwrap();
            let srv = SRV {
                priority: *priority,
                weight: *weight,
                port: *port,
                target,
            };
            let record =
                ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, RData::SRV(srv));
            answer.answers.push(record);
        }
        if answer.answers.is_empty() {
            *answer.rcode_mut() = RCODE::NameError;
        }
    }
    answer.questions.push(question);
    answer.build_bytes_vec_compressed().unwrap()
}

const NAME: &str = "_etcd-server._tcp.example.org";

const RECORDS: [Record; 3] = [
    (NAME, 20, 0, 2380, "c.example.org"),
    (NAME, 10, 1, 2380, "b.example.org"),
    (NAME, 10, 9, 2381, "a.example.org"),
];

fn hosts(found: Result<Vec<Service>, LookupError>) -> Vec<String> {
    let found = found.unwrap();
    let host = |it: &Service| format!("{}:{}", it.target, it.port);
    found.iter().map(host).collect()
}

const ORDERED: [&str; 3] = [
    "a.example.org:2381",
    "b.example.org:2380",
    "c.example.org:2380",
];

#[test]
fn services_come_by_priority_and_weight() {
    let server = NameServer::start(&RECORDS, Manners::default());
    assert_eq!(hosts(server.resolver().services(NAME)), ORDERED);
    let whole = format!("{NAME}.");
    assert_eq!(hosts(server.resolver().services(&whole)), ORDERED);
}

#[test]
fn an_answer_that_is_cut_off_is_asked_for_by_tcp() {
    let cuts_off = Manners {
        cuts_off: true,
        ..Manners::default()
    };
    let server = NameServer::start(&RECORDS, cuts_off);
    assert_eq!(hosts(server.resolver().services(NAME)), ORDERED);
    let by_tcp = Resolver {
        by_tcp: true,
        ..server.resolver()
    };
    assert_eq!(hosts(by_tcp.services(NAME)), ORDERED);
    assert_eq!(server.asked.load(Ordering::Relaxed), 1);
}

#[test]
fn answers_to_other_questions_are_passed_over() {
    let confuses = Manners {
        confuses: true,
        ..Manners::default()
    };
    let server = NameServer::start(&RECORDS, confuses);
    assert_eq!(hosts(server.resolver().services(NAME)), ORDERED);
}

#[test]
fn failures_have_the_words_of_go() {
    let server = NameServer::start(&RECORDS, Manners::default());
    let address = server.address;
    let resolver = server.resolver();
    let refused = resolver.services("_none._tcp.example.org").unwrap_err();
    let expected = format!("lookup _none._tcp.example.org on {address}: no such host");
    assert_eq!(refused.to_string(), expected);
    assert_eq!(server.asked.load(Ordering::Relaxed), 1, "that is final");
    let fails = Manners {
        fails: true,
        ..Manners::default()
    };
    let broken = NameServer::start(&RECORDS, fails);
    let refused = broken.resolver().services(NAME).unwrap_err();
    let expected = format!("lookup {NAME} on {}: server misbehaving", broken.address);
    assert_eq!(refused.to_string(), expected);
    assert_eq!(broken.asked.load(Ordering::Relaxed), 2, "it is asked again");
    // The next server is asked.
    let both = Resolver {
        servers: vec![broken.address, address],
        ..resolver
    };
    assert_eq!(hosts(both.services(NAME)), ORDERED);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let patient = Resolver {
        servers: vec![silent.local_addr().unwrap()],
        timeout: Duration::from_millis(20),
        ..both
    };
    let refused = patient.services(NAME).unwrap_err().to_string();
    assert!(refused.ends_with(": i/o timeout"), "{refused}");
}

#[test]
fn the_systems_configuration_is_followed() {
    let text =
        b"# made by hand\nnameserver 192.0.2.7\nnameserver ::1\nsearch a.example b.example\n\
                 options ndots:3 timeout:2 attempts:4 use-vc\nnonsense\n";
    let resolver = Resolver::configured(text);
    let expected = Resolver {
        servers: vec!["192.0.2.7:53".parse().unwrap(), "[::1]:53".parse().unwrap()],
        search: vec!["a.example".to_owned(), "b.example".to_owned()],
        dots: 3,
        timeout: Duration::from_secs(2),
        attempts: 4,
        by_tcp: true,
    };
    assert_eq!(resolver, expected);
    assert_eq!(
        resolver.forms("x.y.z"),
        ["x.y.z.a.example", "x.y.z.b.example", "x.y.z"]
    );
    assert_eq!(
        resolver.forms("w.x.y.z"),
        ["w.x.y.z", "w.x.y.z.a.example", "w.x.y.z.b.example"]
    );
    assert_eq!(resolver.forms("x.y."), ["x.y"]);
    let without = Resolver::configured(b"");
    assert_eq!(without.servers[0], "127.0.0.1:53".parse().unwrap());
}

#[test]
fn a_name_that_is_none_is_refused() {
    let server = NameServer::start(&[], Manners::default());
    let long = "x".repeat(64);
    let refused = server.resolver().services(&long).unwrap_err();
    assert!(refused.to_string().starts_with("lookup xxx"), "{refused}");
}

#[test]
fn fuzz_answers() {
    let query = {
        let mut query = Packet::new_query(7);
        let (kind, class) = (QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN));
        let name = Name::new(NAME).unwrap();
        query
            .questions
            .push(Question::new(name, kind, class, false));
        query.build_bytes_vec().unwrap()
    };
    let seed = answer(&query, &RECORDS, Manners::default());
    fuzz::run("answer of a name server", &[seed], |bytes| {
        let name = Name::new(NAME).unwrap();
        let is_answer = answers(bytes, 7, &name);
        let read = match read_answer(bytes) {
            Ok(None) => 1,
            Ok(Some(services)) => 2 + services.len() as u64,
            Err(_) => 0,
        };
        read * 2 + u64::from(is_answer)
    });
}
