//! The paths that etcd's tools ask of the peer port, asked of running members of etcd and of the server under test: status,
//! type and body of each answer, word for word.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::members::{Plan, forms_clusters};
use crate::support::etcdctl::Etcdctl;
use crate::support::programs::{self, Oracle};
use crate::support::{ports, turn};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is compared of a header; the rest (dates, lengths) follows from it or differs from one moment to the next.
const FIELDS: [&str; 4] = [
    "content-type",
    "x-etcd-cluster-id",
    "allow",
    "x-content-type-options",
];

/// Method, path and body of each request. `{SECOND}` is the id of the second member.
const REQUESTS: [(&str, &str, &str); 21] = [
    ("GET", "/members", ""),
    ("GET", "/members?linearizable=true", ""),
    ("POST", "/members", ""),
    ("GET", "/members/", ""),
    ("GET", "/members/nothing", ""),
    ("GET", "/version", ""),
    ("PUT", "/version", ""),
    ("GET", "/version/", ""),
    ("GET", "/downgrade/enabled", ""),
    ("POST", "/downgrade/enabled", ""),
    ("GET", "/members/hashkv", "{\"revision\":0}"),
    ("GET", "/members/hashkv", "{\"revision\":2}"),
    ("GET", "/members/hashkv", "{\"revision\":99}"),
    ("GET", "/members/hashkv", "nonsense"),
    ("POST", "/members/hashkv", "{\"revision\":0}"),
    ("POST", "/members/promote/{SECOND}", ""),
    ("POST", "/members/promote/123", ""),
    ("POST", "/members/promote/nonsense", ""),
    ("POST", "/members/promote/", ""),
    ("GET", "/members/promote/123", ""),
    ("GET", "/nothing", ""),
];

/// Status line, the fields that are compared, and the body.
fn ask(port: u16, (method, path, body): (&str, &str, &str)) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the peer port");
    let patience = Some(PATIENCE);
    stream.set_read_timeout(patience).expect("a timeout");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    read.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let mut lines = head.lines();
    let mut shown = vec![lines.next().unwrap_or_default().to_owned()];
    let is_compared = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        FIELDS.contains(&name.to_ascii_lowercase().as_str())
    };
    let mut fields: Vec<String> = lines.filter(is_compared).map(str::to_owned).collect();
    fields.sort();
    shown.extend(fields);
    shown.push(body.to_owned());
    shown.join("\n")
}

/// What the members of one program answer: the first leads, the second does not.
fn answers(
    program: std::path::PathBuf,
    ports: &[(u16, u16)],
    oracle: &Oracle,
) -> Vec<(String, String)> {
    let mut cluster = Plan::new(ports.len())
        .program(program)
        .on_ports(ports)
        .start();
    cluster.lead(0);
    let etcdctl = Etcdctl {
        program: oracle.etcdctl(),
        endpoint: cluster.endpoints()[0].clone(),
    };
    for value in ["one", "two"] {
        let words = ["put", "key", value].map(String::from);
        assert_eq!(etcdctl.run(&words, "").code, Some(0));
    }
    // Until the second has applied the last write too.
    let words = ["get", "key"].map(String::from);
    let second_alone = Etcdctl {
        program: oracle.etcdctl(),
        endpoint: cluster.endpoints()[1].clone(),
    };
    assert_eq!(second_alone.run(&words, "").code, Some(0));
    let words = ["member", "list"].map(String::from);
    let list = String::from_utf8(etcdctl.run(&words, "").stdout).expect("a list");
    let line = list.lines().find(|line| line.contains(", m2,"));
    let second = line.and_then(|line| line.split(", ").next());
    let second = u64::from_str_radix(second.expect("the second member"), 16).expect("an id");

    let mut answers = Vec::new();
    for (_, peer_port) in &ports[..2] {
        for (method, path, body) in REQUESTS {
            let path = path.replace("{SECOND}", &second.to_string());
            let place = if *peer_port == ports[0].1 {
                "leader"
            } else {
                "follower"
            };
            let question = format!("{place}: {method} {path} {body}");
            answers.push((question, ask(*peer_port, (method, &path, body))));
        }
    }
    cluster.assert_all_live();
    answers
}

#[test]
fn the_peer_port_answers_as_etcd_does() {
    let test = "the_peer_port_answers_as_etcd_does";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let Some(oracle) = Oracle::find(test) else {
        return;
    };
    let ports: Vec<(u16, u16)> = (0..3).map(|_| (ports::free(), ports::free())).collect();
    let expected = answers(oracle.etcd(), &ports, &oracle);
    let actual = answers(programs::under_test(), &ports, &oracle);
    let pairs = expected.iter().zip(&actual);
    let differences: Vec<String> = pairs
        .filter(|(expected, actual)| expected != actual)
        .map(|((question, expected), (_, actual))| {
            format!("{question}\n- {expected:?}\n+ {actual:?}")
        })
        .collect();
    assert!(
        differences.is_empty(),
        "{} answers differ (- etcd, + under test):\n{}",
        differences.len(),
        differences.join("\n")
    );
}
