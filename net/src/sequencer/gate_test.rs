//! What a gate does without being asked.

use super::*;
use crate::reactor::{Capacity, Lane, MailboxReceiver, mailbox};
use reeve_engine::btree::{Store, StoreOptions};
use reeve_engine::command::{Body, Put};
use reeve_engine::disk::UringDisk;
use reeve_engine::pages::{MappedSource, create_page_file};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(7);

fn store(path: &Path) -> Store {
    let mut disk = UringDisk::new().unwrap();
    create_page_file(&mut disk, path, [1, 2]).unwrap();
    let source = MappedSource::open(path, 64 << 20).unwrap();
    let options = StoreOptions::default();
    let opened = Store::open(&mut disk, path, Box::new(source), &options, |_| true);
    opened.unwrap().store
}

fn side(store: &Store) -> StoreSide {
    StoreSide::new(store.reader(), Pager::start(store.space(), 1).unwrap())
}

fn gate(store: &Store, replacements: &Arc<Replacements>) -> (Gate, MailboxReceiver<Submission>) {
    let identity = Identity {
        cluster: 1,
        member: 2,
        request_nonce: 3,
    };
    let limits = Limits {
        txn_operations: 128,
        request_bytes: 1 << 20,
        patience: PATIENCE,
        election: Duration::from_secs(1),
        minimum_lease_ttl: 2,
    };
    let capacity = Capacity {
        system: 10,
        client: 10,
    };
    let (sender, receiver) = mailbox(capacity);
    let gate = Gate::new(
        0,
        identity,
        limits,
        Arc::new(Published::new(0)),
        Arc::new(EventRing::default()),
        side(store),
        Arc::clone(replacements),
        sender,
    );
    (gate, receiver)
}

/// Proposes a put; what is told of it.
fn propose(gate: &Gate) -> Rc<RefCell<Option<Outcome>>> {
    let told = Rc::new(RefCell::new(None));
    let put = Body::Put(Put {
        key: b"key",
        ..Put::default()
    });
    let place = Rc::clone(&told);
    gate.propose_with(&put, Lane::Client, move |outcome| {
        *place.borrow_mut() = Some(outcome);
    });
    told
}

#[test]
fn whoever_waits_is_told_when_nobody_will_answer() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("pages"));
    let (gate, _submissions) = gate(&store, &Arc::default());
    let begin = Instant::now();
    let late = propose(&gate);
    gate.look_after(begin);
    assert!(late.borrow().is_none());
    gate.look_after(Instant::now() + PATIENCE);
    let failure = late.borrow_mut().take();
    assert!(
        matches!(failure, Some(Err(Failure::Blocked))),
        "{failure:?}"
    );
    let waiting = propose(&gate);
    gate.published.fail("the disk is gone".to_owned());
    gate.look_after(Instant::now());
    assert_eq!(waiting.borrow_mut().take(), Some(Err(Failure::Stopped)));
    assert_eq!(
        propose(&gate).borrow_mut().take(),
        Some(Err(Failure::Stopped))
    );
}

#[test]
fn a_store_that_was_replaced_is_let_go_of_without_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let old = store(&folder.path().join("old"));
    let new = store(&folder.path().join("new"));
    let replacements = Arc::default();
    let (gate, _submissions) = gate(&old, &replacements);
    let pages = Arc::downgrade(old.space());
    drop(old);
    gate.look_after(Instant::now());
    assert!(pages.upgrade().is_some(), "it is in use");
    replacements.replace(vec![side(&new)]);
    gate.look_after(Instant::now());
    assert!(pages.upgrade().is_none());
}
