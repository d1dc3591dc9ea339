//! Peers whose hosts have names.

use super::links::PeerAddress;
use super::peer_test::{Plan, local, on_reactor, secured, side, until};
use crate::config::Url;
use crate::listen::Deaf;
use crate::reactor::Names;
use crate::tls::test_certificates::Authority;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

fn port(address: &PeerAddress) -> u16 {
    address.urls[0].port.unwrap()
}

/// A member that is found at this URL.
fn at(member: u64, url: &str) -> PeerAddress {
    PeerAddress {
        member,
        urls: vec![Url::parse(url).unwrap()],
    }
}

#[test]
fn an_address_that_drops_what_comes_is_not_the_only_one_that_is_tried() {
    on_reactor(|| async {
        let two = side(local(2));
        let port = port(&two.address);
        let gone: SocketAddr = ([127, 0, 0, 2], 0).into();
        let _deaf = Deaf::at(SocketAddr::new(gone.ip(), port));
        let mut plan = Plan::new(local(1));
        plan.names = Names::with(move |host| {
            assert_eq!(host, "two.example");
            Ok(vec![gone, ([127, 0, 0, 1], 0).into()])
        });
        let one = plan.start();
        two.links.set_peers(vec![one.address.clone()]);
        let named = at(2, &format!("http://two.example:{port}"));
        one.links.set_peers(vec![named]);
        until(|| one.activity.active_since(2).is_some()).await;
    });
}

#[test]
fn a_resolver_that_does_not_answer_keeps_nobody_else_waiting() {
    on_reactor(|| async {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("ours");
        let believed = authority.write(folder.path());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // Nothing is ever sent: the resolver answers at the end of the test.
        let (end, ends) = mpsc::channel::<()>();
        let ends = Mutex::new(ends);
        let mut plan = secured(folder.path(), 1, &authority, &believed);
        plan.names = Names::with(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = ends.lock().map(|ends| ends.recv());
            Ok(Vec::new())
        });
        let one = plan.start();
        let unknown = |member: u64| at(member, &format!("https://m{member}.example:1"));
        let mut peers: Vec<PeerAddress> = (10..18).map(unknown).collect();
        one.links.set_peers(peers.clone());
        // Until both lanes to each have been given up once, and dialled again.
        glommio::timer::sleep(Duration::from_secs(8)).await;
        assert_eq!(asked.load(Ordering::SeqCst), peers.len());
        let two = secured(folder.path(), 2, &authority, &believed).start();
        two.links.set_peers(vec![one.address.clone()]);
        peers.push(two.address.clone());
        one.links.set_peers(peers);
        until(|| one.activity.active_since(2).is_some() && two.activity.active_since(1).is_some())
            .await;
        drop(end);
    });
}
