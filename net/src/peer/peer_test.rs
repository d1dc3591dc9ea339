//! Links between members in one reactor.

use super::links::{LinkOptions, Links, PeerAddress};
use super::port::{HttpHandler, PeerPort};
use super::{Activity, Arrived};
use crate::config::{Config, TransportSecurity, Url};
use crate::listen::{ListenAddress, Listener, PeerListener};
use crate::reactor::Names;
use crate::tls::Credentials;
use crate::tls::test_certificates::{Authority, Subject};
use bytes::Bytes;
use reeve_node::Parcel;
use reeve_peer::{
    FrameKind, FrameReader, HANDSHAKE_BYTES, Hello, Lane, Local, MAGIC, Output, Refusal, Welcome,
};
use reeve_raft::{Body, Entry, EntryKind, LogPoint, Message};
use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

const CLUSTER: u64 = 0xc1;

pub(super) struct Side {
    pub(super) links: Rc<Links>,
    pub(super) activity: Activity,
    pub(super) address: PeerAddress,
    _port: PeerPort,
}

pub(super) fn local(member: u64) -> Local {
    Local {
        cluster: CLUSTER,
        member,
        process: member * 1000,
        format: 1,
        release: "test".to_owned(),
    }
}

pub(super) fn side(local: Local) -> Side {
    Plan::new(local).start()
}

/// A member to be started.
pub(super) struct Plan {
    local: Local,
    scheme: &'static str,
    credentials: Arc<Credentials>,
    /// How it looks up the hosts of the others.
    pub(super) names: Names,
    /// What becomes of those who ask over HTTP.
    pub(super) http: HttpHandler,
}

impl Plan {
    /// One that speaks without encryption, and knows no answer to any question.
    pub(super) fn new(local: Local) -> Plan {
        let http: HttpHandler = Rc::new(|stream, _| {
            Box::pin(async move {
                let answer = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(answer).await;
                stream.close();
            })
        });
        Plan {
            local,
            scheme: "http",
            credentials: Credentials::for_peers(&Config::default()).unwrap(),
            names: Names::default(),
            http,
        }
    }

    pub(super) fn start(self) -> Side {
        let address = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        let listener = Listener::bind(&address, false).unwrap();
        let at = listener.address().unwrap();
        let url = Url::parse(&format!("{}://{at}", self.scheme)).unwrap();
        let is_secure = url.is_secure();
        let address = PeerAddress {
            member: self.local.member,
            urls: vec![url],
        };
        let activity = Activity::default();
        let options = LinkOptions {
            frame_bytes: 8 << 20,
            seed: self.local.process,
            credentials: self.credentials,
            names: self.names,
        };
        let links = Links::new(self.local, options, activity.clone());
        let listeners = vec![PeerListener {
            listener,
            is_secure,
        }];
        Side {
            _port: PeerPort::start(listeners, &links, self.http).unwrap(),
            links,
            activity,
            address,
        }
    }
}

/// Runs `work` on a reactor, for a minute at most.
pub(super) fn on_reactor<F: Future<Output = ()> + 'static>(
    work: impl FnOnce() -> F + Send + 'static,
) {
    let builder = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound);
    let executor = builder.spawn(move || async move {
        let late = async {
            glommio::timer::sleep(Duration::from_secs(60)).await;
            panic!("it takes too long");
        };
        futures_lite::future::or(work(), late).await;
    });
    executor.unwrap().join().unwrap();
}

pub(super) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        glommio::timer::sleep(Duration::from_millis(5)).await;
    }
}

/// The next arrival that is not about lost connections.
async fn next(side: &Side) -> Arrived {
    loop {
        poll_fn(|context| match side.links.poll_arrived(context) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        let mut arrived = None;
        side.links.take_arrived(1, |one| arrived = Some(one));
        match arrived {
            Some(Arrived::Unreachable(_)) | None => {}
            Some(arrived) => return arrived,
        }
    }
}

fn append(from: u64, to: u64, bytes: usize) -> Message {
    let entry = |index| Entry {
        term: 1,
        index,
        kind: EntryKind::Command,
        data: Bytes::from(vec![index as u8; bytes]),
    };
    Message {
        from,
        to,
        term: 1,
        body: Body::Append {
            previous: LogPoint::default(),
            entries: (1..=3).map(entry).collect(),
            commit: 0,
        },
    }
}

fn heartbeat(from: u64, to: u64) -> Message {
    Message {
        from,
        to,
        term: 1,
        body: Body::Heartbeat { round: 7 },
    }
}

fn send(side: &Side, message: Message) -> Vec<Message> {
    let mut refused = Vec::new();
    side.links.send([message].into_iter(), &mut refused);
    side.links.flush();
    refused
}

/// Messages of the members 1 and 2 to each other, small and large.
async fn assert_messages_arrive(one: &Side, two: &Side) {
    for bytes in [1, 100, 20_000, 2_000_000] {
        let message = append(1, 2, bytes);
        assert!(send(one, message.clone()).is_empty());
        match next(two).await {
            Arrived::Message {
                from: 1,
                message: arrived,
            } => assert_eq!(arrived, message),
            other => panic!("{other:?}"),
        }
    }
    send(two, heartbeat(2, 1));
    assert!(matches!(next(one).await, Arrived::Message { from: 2, .. }));
}

#[test]
fn messages_and_parcels_arrive_whole_in_both_directions() {
    on_reactor(|| async {
        let (one, two) = (side(local(1)), side(local(2)));
        one.links
            .set_peers(vec![one.address.clone(), two.address.clone()]);
        two.links
            .set_peers(vec![one.address.clone(), two.address.clone()]);
        until(|| one.activity.active_since(2).is_some() && two.activity.active_since(1).is_some())
            .await;
        glommio::timer::sleep(Duration::from_millis(50)).await;
        assert_messages_arrive(&one, &two).await;
        let parcel = Bytes::from_static(b"something of the node");
        let bytes = parcel.clone();
        let sent = Parcel {
            to: 2,
            bulk: true,
            bytes,
        };
        one.links.send_parcels([sent].into_iter());
        one.links.flush();
        match next(&two).await {
            Arrived::Parcel { from: 1, bytes } => assert_eq!(bytes, parcel),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_peer_that_does_not_read_loses_messages_and_no_memory_is_held_for_it() {
    on_reactor(|| async {
        let (one, two) = (side(local(1)), side(local(2)));
        one.links.set_peers(vec![two.address.clone()]);
        two.links.set_peers(vec![one.address.clone()]);
        until(|| one.activity.active_since(2).is_some()).await;
        glommio::timer::sleep(Duration::from_millis(50)).await;
        // Nobody takes what arrives at two: its inbox fills, then the sockets, then the queue.
        let message = append(1, 2, 1 << 20);
        let mut unreachable = false;
        for _ in 0..200 {
            send(&one, message.clone());
            glommio::timer::sleep(Duration::from_millis(1)).await;
            one.links.take_arrived(100, |arrived| {
                unreachable |= matches!(arrived, Arrived::Unreachable(2));
            });
        }
        assert!(unreachable, "Raft is told that messages are lost");
        let proposal = Message {
            body: Body::Propose {
                id: 77,
                kind: EntryKind::Command,
                data: vec![Bytes::from(vec![0; 1 << 20])],
            },
            ..heartbeat(1, 2)
        };
        let refused = send(&one, proposal);
        assert!(
            matches!(refused[0].body, Body::ProposeRefused { id: 77 }),
            "{refused:?}"
        );
        // What is urgent passes by.
        send(&one, heartbeat(1, 2));
        let mut found = false;
        while !found {
            glommio::timer::sleep(Duration::from_millis(1)).await;
            two.links.take_arrived(1000, |arrived| {
                let Arrived::Message { message, .. } = arrived else {
                    return;
                };
                found |= matches!(message.body, Body::Heartbeat { .. });
            });
        }
    });
}

/// Greets a member by hand, and hears its answer.
pub(super) async fn greet(at: &Side, hello: Hello) -> Result<Welcome, Refusal> {
    let url = at.address.urls[0].to_string();
    let address = url.trim_start_matches("http://").to_owned();
    let asked = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        let mut output = Output::default();
        hello.push(&mut output);
        stream.write_all(&output.to_vec()).unwrap();
        let mut reader = FrameReader::new(HANDSHAKE_BYTES);
        let mut magic = [0; MAGIC.len()];
        stream.read_exact(&mut magic).unwrap();
        assert_eq!(&magic, MAGIC);
        loop {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            let Some(frame) = reader.next(&mut &byte[..]).unwrap() else {
                continue;
            };
            return match frame.kind {
                FrameKind::Welcome => Ok(Welcome::read(&frame.content, &hello).unwrap()),
                FrameKind::Refusal => Err(Refusal::read(&frame.content).unwrap()),
                kind => panic!("{kind:?}"),
            };
        }
    });
    until(|| asked.is_finished()).await;
    asked.join().unwrap()
}

#[test]
fn strangers_get_no_link_and_are_told_why() {
    on_reactor(|| async {
        let here = side(local(1));
        here.links.set_peers(vec![side(local(2)).address.clone()]);
        here.links.set_removed([3]);
        here.links.set_has_leader(true);
        let right = Hello::new(&local(2), 1, Lane::Prompt);
        let mut other_cluster = right.clone();
        other_cluster.from.cluster = 0xbad;
        let mut elsewhere = right.clone();
        elsewhere.to = 9;
        let unknown = Hello::new(&local(4), 1, Lane::Prompt)
            .with_peer_urls(vec!["http://127.0.0.1:1".to_owned()]);
        for (hello, text) in [
            (
                other_cluster,
                "cluster ID mismatch: the dialling member is of cluster bad",
            ),
            (
                elsewhere,
                "member 9 was dialled, but member 1 listens there",
            ),
            (unknown, "member 4 is not in the cluster"),
            (
                Hello::new(&local(3), 1, Lane::Prompt),
                "member 3 has been permanently removed from the cluster",
            ),
            (
                Hello::new(&local(1), 1, Lane::Prompt),
                "another process is connected as member 1",
            ),
        ] {
            let refusal = greet(&here, hello).await.unwrap_err();
            assert!(refusal.to_string().contains(text), "{refusal}");
        }
        assert!(greet(&here, right).await.is_ok());
        let removed = side(local(3));
        removed.links.set_peers(vec![here.address.clone()]);
        assert!(matches!(next(&removed).await, Arrived::Removed { by: 1 }));
    });
}

#[test]
fn a_member_without_a_leader_takes_a_link_from_one_that_it_does_not_know() {
    on_reactor(|| async {
        let here = side(local(1));
        // The only peer that it knows is no longer there.
        here.links
            .set_peers(vec![here.address.clone(), side(local(2)).address.clone()]);
        let newcomer = side(local(4));
        newcomer
            .links
            .set_peers(vec![here.address.clone(), newcomer.address.clone()]);
        until(|| newcomer.activity.active_since(1).is_some()).await;
        send(&newcomer, append(4, 1, 100_000));
        assert!(matches!(
            next(&here).await,
            Arrived::Message { from: 4, .. }
        ));
        // It is answered where it says that it is found.
        let answered = async {
            loop {
                send(&here, heartbeat(1, 4));
                glommio::timer::sleep(Duration::from_millis(20)).await;
            }
        };
        let heard = async {
            assert!(matches!(
                next(&newcomer).await,
                Arrived::Message { from: 1, .. }
            ));
        };
        futures_lite::future::or(heard, answered).await;
        assert_eq!(here.activity.active_since(4), None, "it counts for nothing");
        assert!(!here.activity.has_had_quorum_since(Instant::now()));
        // Neither one that does not say where it is found, nor anybody once there is a leader.
        let silent = Hello::new(&local(5), 1, Lane::Prompt);
        assert!(greet(&here, silent.clone()).await.is_err());
        here.links.set_has_leader(true);
        let url = vec!["http://127.0.0.1:1".to_owned()];
        assert!(greet(&here, silent.with_peer_urls(url)).await.is_err());
        // The newcomer turns out to be a member.
        here.links
            .set_peers(vec![here.address.clone(), newcomer.address.clone()]);
        until(|| here.activity.active_since(4).is_some()).await;
        // And later to be removed.
        here.links.set_peers(vec![here.address.clone()]);
        here.links.set_removed([4]);
        here.links.set_has_leader(false);
        while !matches!(next(&newcomer).await, Arrived::Removed { by: 1 }) {}
    });
}

#[test]
fn a_member_that_is_not_known_is_answered_where_it_is_found_now() {
    on_reactor(|| async {
        let here = side(local(1));
        here.links
            .set_peers(vec![here.address.clone(), side(local(2)).address.clone()]);
        let first = side(local(4));
        first
            .links
            .set_peers(vec![here.address.clone(), first.address.clone()]);
        until(|| first.activity.active_since(1).is_some()).await;
        first.links.set_peers(Vec::new());
        drop(first);
        // It is started again elsewhere, before it is forgotten.
        let again = side(Local {
            process: 5,
            ..local(4)
        });
        again
            .links
            .set_peers(vec![here.address.clone(), again.address.clone()]);
        until(|| again.activity.active_since(1).is_some()).await;
        let answered = async {
            loop {
                send(&here, heartbeat(1, 4));
                glommio::timer::sleep(Duration::from_millis(20)).await;
            }
        };
        let heard = async {
            assert!(matches!(
                next(&again).await,
                Arrived::Message { from: 1, .. }
            ));
        };
        futures_lite::future::or(heard, answered).await;
    });
}

#[test]
fn a_stranger_is_not_believed_that_this_member_was_removed() {
    on_reactor(|| async {
        let here = side(local(1));
        here.links.set_peers(vec![here.address.clone()]);
        let stranger = side(local(4));
        stranger
            .links
            .set_peers(vec![here.address.clone(), stranger.address.clone()]);
        stranger.links.set_removed([1]);
        // It is dialled back, and says so.
        until(|| stranger.activity.active_since(1).is_some()).await;
        for _ in 0..50 {
            glommio::timer::sleep(Duration::from_millis(10)).await;
            here.links.take_arrived(100, |arrived| {
                assert!(!matches!(arrived, Arrived::Removed { .. }), "{arrived:?}");
            });
        }
        // A member is.
        here.links
            .set_peers(vec![here.address.clone(), stranger.address.clone()]);
        while !matches!(next(&here).await, Arrived::Removed { by: 4 }) {}
    });
}

#[test]
fn strangers_without_a_leader_to_ask_are_few() {
    on_reactor(|| async {
        let here = side(local(1));
        let mut taken = 0;
        for member in 10..30 {
            let hello = Hello::new(&local(member), 1, Lane::Prompt)
                .with_peer_urls(vec!["http://127.0.0.1:1".to_owned()]);
            taken += usize::from(greet(&here, hello).await.is_ok());
        }
        assert_eq!(taken, 8);
    });
}

/// A member with a certificate of `authority` that believes `believed`.
pub(super) fn secured(folder: &Path, id: u64, authority: &Authority, believed: &Path) -> Plan {
    let files = authority.certify(folder, &format!("m{id}"), Subject::LOCAL);
    let config = Config {
        listen_peer_urls: vec![Url::parse("https://127.0.0.1:1").unwrap()],
        peer_transport_security: TransportSecurity {
            cert_file: files.certificate,
            key_file: files.key,
            trusted_ca_file: believed.to_owned(),
            ..TransportSecurity::default()
        },
        ..Config::default()
    };
    Plan {
        scheme: "https",
        credentials: Credentials::for_peers(&config).unwrap(),
        ..Plan::new(local(id))
    }
}

#[test]
fn links_over_tls_carry_everything_and_refuse_another_authority() {
    on_reactor(|| async {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("ours");
        let believed = authority.write(folder.path());
        let one = secured(folder.path(), 1, &authority, &believed).start();
        let two = secured(folder.path(), 2, &authority, &believed).start();
        let stranger = Authority::new("theirs");
        let three = secured(folder.path(), 3, &stranger, &believed).start();
        let all: Vec<PeerAddress> = [&one, &two, &three].map(|side| side.address.clone()).into();
        for side in [&one, &two, &three] {
            side.links.set_peers(all.clone());
        }
        // One that does not know that the others speak TLS.
        let plain = side(local(2));
        let mut bare = one.address.clone();
        let url = bare.urls[0].to_string().replace("https", "http");
        bare.urls = vec![Url::parse(&url).unwrap()];
        plain.links.set_peers(vec![bare]);
        until(|| one.activity.active_since(2).is_some() && two.activity.active_since(1).is_some())
            .await;
        glommio::timer::sleep(Duration::from_millis(100)).await;
        assert_messages_arrive(&one, &two).await;
        for side in [&one, &two] {
            assert_eq!(side.activity.active_since(3), None);
        }
        for side in [&three, &plain] {
            assert_eq!(side.activity.active_since(1), None);
        }
    });
}

#[test]
fn a_second_process_of_a_member_is_refused_while_the_first_lives() {
    on_reactor(|| async {
        let here = side(local(1));
        let first = side(local(2));
        here.links.set_peers(vec![first.address.clone()]);
        first.links.set_peers(vec![here.address.clone()]);
        until(|| first.activity.active_since(1).is_some()).await;
        let second = side(Local {
            process: 5,
            ..local(2)
        });
        second.links.set_peers(vec![here.address.clone()]);
        glommio::timer::sleep(Duration::from_millis(500)).await;
        assert_eq!(second.activity.active_since(1), None);
        first.links.set_peers(Vec::new());
        drop(first);
        until(|| second.activity.active_since(1).is_some()).await;
    });
}
