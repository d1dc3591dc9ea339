//! The paths over a real stream, asked by the client that members use.

use super::serve::serve;
use super::{
    PeerClient, PeerHash, PeerOutcome, PeerRefusal, PeerSource, read_listing, write_listing,
};
use crate::config::{Config, Url};
use crate::http::Versions;
use crate::listen::{Socket, Stream};
use crate::peer::PeerStream;
use crate::tls::Credentials;
use glommio::{LocalExecutorBuilder, Placement};
use reeve_node::MemberRecord;
use std::future::ready;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

fn members() -> Vec<MemberRecord> {
    let member = |id: u64, name: &str, learner| MemberRecord {
        name: name.to_owned(),
        peer_urls: vec![format!("http://127.0.0.1:{id}")],
        client_urls: name
            .chars()
            .take(1)
            .map(|it| format!("http://{it}:1"))
            .collect(),
        learner,
        ..MemberRecord::bare(id)
    };
    vec![member(1, "one", false), member(u64::MAX, "", true)]
}

struct Source;

impl PeerSource for Source {
    fn cluster(&self) -> u64 {
        0xcdf8_1819_4e3a_8c32
    }

    fn versions(&self) -> Versions {
        Versions {
            server: "3.7.3".to_owned(),
            cluster: "3.7.0".to_owned(),
            storage: "3.7.0".to_owned(),
        }
    }

    fn members(&self) -> PeerOutcome<Vec<MemberRecord>> {
        Box::pin(ready(Ok(members())))
    }

    fn promote(&self, id: u64, _: bool) -> PeerOutcome<Vec<MemberRecord>> {
        let refusal = PeerRefusal {
            status: 404,
            text: "membership: ID not found".to_owned(),
        };
        Box::pin(ready(if id == 1 { Ok(members()) } else { Err(refusal) }))
    }

    fn hash(&self, revision: i64) -> PeerOutcome<PeerHash> {
        Box::pin(ready(Ok(PeerHash {
            hash: 7,
            compact_revision: -1,
            hash_revision: revision,
            revision: 9,
        })))
    }

    fn downgrade_enabled(&self) -> PeerOutcome<bool> {
        Box::pin(ready(Ok(false)))
    }
}

/// Serves so many connections, one after the other, on a reactor of their own while `ask` runs.
fn against_server(connections: usize, ask: impl FnOnce(SocketAddr)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = LocalExecutorBuilder::new(Placement::Unbound)
        .spawn(move || async move {
            for _ in 0..connections {
                // Nothing else runs here, so that it may block.
                let (stream, _) = listener.accept().unwrap();
                stream.set_nonblocking(true).unwrap();
                let socket = Socket::new(Stream::Tcp(stream)).unwrap();
                let stream = PeerStream::plain(Rc::new(socket));
                // What a client breaks off is its own affair.
                let _ = serve(&stream, Vec::new(), &Source).await;
            }
        })
        .unwrap();
    ask(address);
    server.join().unwrap();
}

#[test]
fn the_paths_answer_as_etcd_does() {
    let client = PeerClient {
        timeout: Duration::from_secs(10),
        credentials: Credentials::for_peers(&Config::default()).unwrap(),
    };
    against_server(5, |address| {
        let url = Url::parse(&format!("http://{address}")).unwrap();
        let ask = |method: &str, path: &str| client.ask(method, &url, path).unwrap();
        let listed = ask("GET", "/members");
        assert_eq!(listed.status, 200);
        assert_eq!(listed.header("x-etcd-cluster-id"), Some("cdf818194e3a8c32"));
        assert_eq!(read_listing(&listed.body).unwrap(), members());
        let version = ask("GET", "/version").body;
        let expected = r#"{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}"#;
        assert_eq!(String::from_utf8_lossy(&version), expected);
        assert_eq!(ask("GET", "/downgrade/enabled").body, b"false");
        let unknown = ask("POST", "/members/promote/2");
        assert_eq!(
            (unknown.status, unknown.body.as_slice()),
            (404, &b"membership: ID not found\n"[..])
        );
        assert_eq!(ask("GET", "/health").status, 404);
    });
}

/// Writes the texts in turn, and reads an answer of one connection to its end.
fn talk(address: SocketAddr, text: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn bodies_headers_and_methods_are_looked_at() {
    against_server(5, |address| {
        let hash = |cluster: &str, body: &str| {
            let length = body.len();
            let request = format!(
                "GET /members/hashkv HTTP/1.0\r\nX-Etcd-Cluster-ID: {cluster}\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            talk(address, &request)
        };
        let hashed = hash("cdf818194e3a8c32", r#"{"revision":3}"#);
        assert!(hashed.contains(r#""hash_revision":3"#), "{hashed}");
        assert!(
            hashed.contains("X-Etcd-Cluster-Id: cdf818194e3a8c32"),
            "{hashed}"
        );
        assert!(hash("7", "{}").starts_with("HTTP/1.1 412 "));
        assert!(hash("cdf818194e3a8c32", "nonsense").starts_with("HTTP/1.1 400 "));
        let wrong = talk(address, "POST /members HTTP/1.0\r\n\r\n");
        assert!(
            wrong.starts_with("HTTP/1.1 405 ") && wrong.contains("Allow: GET"),
            "{wrong}"
        );
        let large = "GET /members HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n";
        assert!(talk(address, large).starts_with("HTTP/1.1 413 "));
    });
}

#[test]
fn lists_are_etcds_json() {
    let text = write_listing(&members());
    let expected = concat!(
        r#"[{"id":1,"peerURLs":["http://127.0.0.1:1"],"name":"one","clientURLs":["http://o:1"]},"#,
        r#"{"id":18446744073709551615,"peerURLs":["http://127.0.0.1:18446744073709551615"],"isLearner":true}]"#,
        "\n"
    );
    assert_eq!(text, expected);
    let by_etcd = r#"[{"id":10276657743932975437,"peerURLs":["http://localhost:2380"],"name":"default","clientURLs":["http://localhost:2379"]}]"#;
    let read = read_listing(by_etcd.as_bytes()).unwrap();
    assert_eq!(read[0].id, 0x8e9e_05c5_2164_694d);
    assert_eq!(read[0].name, "default");
    assert_eq!(read_listing(b"null").unwrap(), []);
    for bad in [
        "",
        "{}",
        "[{}]",
        "[{\"id\":0}]",
        "[{\"id\":1,\"peerURLs\":[7]}]",
    ] {
        assert!(read_listing(bad.as_bytes()).is_err(), "{bad}");
    }
}
