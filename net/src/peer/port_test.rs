//! The peer port, and those who come to it without being members.

use super::peer_test::{Plan, greet, local, on_reactor, side, until};
use crate::peer::PeerAddress;
use crate::reactor::raise_descriptor_limit;
use reeve_peer::{Hello, Lane, MAGIC};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// More connections than the port serves at a time.
const CROWD: usize = 1100;

/// Comes to the port with so many connections, which say something and then stand around. Whether the first of them is ended
/// within `patience`.
async fn crowd(
    at: &PeerAddress,
    count: usize,
    says: &'static [u8],
    patience: Duration,
) -> (bool, Vec<TcpStream>) {
    raise_descriptor_limit();
    let url = at.urls[0].to_string();
    let address = url.trim_start_matches("http://").to_owned();
    let came = std::thread::spawn(move || {
        let connect = |_| {
            let mut stream = TcpStream::connect(&address).unwrap();
            // Those that are ended at once may not even say it.
            let _ = stream.write_all(says);
            stream
        };
        let mut silent: Vec<TcpStream> = (0..count).map(connect).collect();
        silent[0].set_read_timeout(Some(patience)).unwrap();
        let ended = silent[0].read(&mut [0]);
        // With a reset, if something it has said was not read.
        let is_ended = match ended {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        (is_ended, silent)
    });
    until(|| came.is_finished()).await;
    came.join().unwrap()
}

#[test]
fn who_says_nothing_gives_way_to_who_comes_later() {
    on_reactor(|| async {
        let here = side(local(1));
        here.links.set_peers(vec![side(local(2)).address.clone()]);
        // Sooner than silence alone would end it; also that of one who has only said that it is a member.
        for (says, patience) in [(&b""[..], 8), (&MAGIC[..], 4)] {
            let patience = Duration::from_secs(patience);
            let (ended, silent) = crowd(&here.address, 300, says, patience).await;
            assert!(
                ended,
                "the first of 300 that say {says:?} still stands around"
            );
            let welcome = greet(&here, Hello::new(&local(2), 1, Lane::Prompt)).await;
            assert!(welcome.is_ok());
            drop(silent);
        }
    });
}

/// An answer may take long, and whoever waits for it is not asked to leave before there are too many. But then it holds
/// nothing that others need.
#[test]
fn who_waits_for_an_answer_gives_way_to_who_comes_later() {
    on_reactor(|| async {
        let mut plan = Plan::new(local(1));
        plan.http = Rc::new(|_, _| Box::pin(glommio::timer::sleep(Duration::from_secs(600))));
        let here = plan.start();
        here.links.set_peers(vec![side(local(2)).address.clone()]);
        let question = b"GET /version HTTP/1.1\r\n\r\n";
        let patience = Duration::from_secs(20);
        let (ended, silent) = crowd(&here.address, CROWD, question, patience).await;
        assert!(ended, "the first of {CROWD} still stands around");
        let welcome = greet(&here, Hello::new(&local(2), 1, Lane::Prompt)).await;
        assert!(welcome.is_ok());
        drop(silent);
    });
}

#[test]
fn garbage_on_the_port_ends_its_connection_only() {
    on_reactor(|| async {
        let here = side(local(1));
        let url = here.address.urls[0].to_string();
        let address = url.trim_start_matches("http://").to_owned();
        let asked = std::thread::spawn(move || {
            let patience = Some(Duration::from_secs(20));
            let mut answers = Vec::new();
            let mut huge = MAGIC.to_vec();
            huge.extend_from_slice(&[0xff; 64]);
            let mut wrong_sum = MAGIC.to_vec();
            wrong_sum
                .extend_from_slice(&[4, 0, 0, 0, 1, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4]);
            for sent in [b"GET /nothing HTTP/1.1\r\n\r\n", &huge[..], &wrong_sum] {
                let mut stream = TcpStream::connect(&address).unwrap();
                stream.set_read_timeout(patience).unwrap();
                stream.write_all(sent).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                answers.push(String::from_utf8_lossy(&answer).into_owned());
            }
            answers
        });
        until(|| asked.is_finished()).await;
        let answers = asked.join().unwrap();
        assert!(
            answers[0].starts_with("HTTP/1.1 404 Not Found\r\n"),
            "{answers:?}"
        );
        assert!(
            answers[1].contains("frame of version 255, which this release does not know"),
            "{answers:?}"
        );
        assert!(answers[2].contains("wrong checksum"), "{answers:?}");
        let other = side(local(2));
        here.links.set_peers(vec![other.address.clone()]);
        other.links.set_peers(vec![here.address.clone()]);
        let begun = Instant::now();
        until(|| other.activity.active_since(1).is_some()).await;
        assert!(begun.elapsed() < Duration::from_secs(30));
    });
}
