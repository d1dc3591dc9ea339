//! Where a watch begins.

use super::*;
use crate::reactor::{Capacity, mailbox};
use crate::sequencer::{EventRing, Identity, Limits, Pager, Published};
use reeve_engine::btree::{Store, StoreOptions};
use reeve_engine::disk::UringDisk;
use reeve_engine::pages::{MappedSource, WritePlan, create_page_file, drive};
use std::path::Path;
use std::sync::Arc;

const REVISION: i64 = 1234;

/// A store at a revision, none of whose pages are in memory.
fn store_at_rest(disk: &mut UringDisk, path: &Path) -> Store {
    create_page_file(disk, path, [1, 2]).unwrap();
    let source = MappedSource::open(path, 64 << 20).unwrap();
    let options = StoreOptions {
        cache_bytes: 0,
        ..StoreOptions::default()
    };
    let opened = Store::open(disk, path, Box::new(source), &options, |_| true).unwrap();
    let mut store = opened.store;
    let request = store.space_wanted().unwrap();
    let allocate = reeve_engine::disk::Operation::Allocate {
        file: opened.file,
        offset: request.offset,
        length: request.length,
    };
    drive::perform(disk, allocate).unwrap();
    store.space_granted(request);
    let state = State {
        revision: REVISION,
        ..State::default()
    };
    state.save(&mut store).unwrap();
    store.publish();
    let plan = WritePlan {
        file: opened.file,
        token: 1,
        sync_bytes: 1 << 20,
    };
    let mut job = store.begin_checkpoint((1, 1), plan).unwrap();
    drive::run_job(disk, &mut job);
    store.finish_write_out(job).unwrap();
    store
}

fn hub(store: &Store) -> Rc<Hub> {
    let identity = Identity {
        cluster: 1,
        member: 2,
        request_nonce: 3,
    };
    let limits = Limits {
        txn_operations: 128,
        request_bytes: 1 << 20,
        patience: Duration::from_secs(7),
        election: Duration::from_secs(1),
        minimum_lease_ttl: 2,
    };
    let capacity = Capacity {
        system: 1,
        client: 1,
    };
    let gate = Gate::new(
        0,
        identity,
        limits,
        Arc::new(Published::new(0)),
        Arc::new(EventRing::default()),
        Pager::start(store.space(), 1).unwrap(),
        store.reader(),
        mailbox(capacity).0,
    );
    Hub::new(Rc::new(gate), Duration::from_secs(1))
}

/// After a checkpoint the page that names the revision may not be in memory. A watch of what comes from now on must not
/// begin in the past then.
#[test]
fn a_watch_waits_for_the_page_that_says_where_now_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = UringDisk::new().unwrap();
    let store = store_at_rest(&mut disk, &folder.path().join("pages"));
    let hub = hub(&store);
    let mut state = hub.state.borrow_mut();
    let Err(Stop::NeedPages(faults)) = hub.count_in(&mut state) else {
        panic!("the page is in memory");
    };
    assert!(!hub.gate.events.is_watched(), "nobody watches yet");
    store.space().bring_in(&faults).unwrap();
    assert_eq!(hub.count_in(&mut state).unwrap(), REVISION);
    assert_eq!(state.revision, REVISION);
    assert!(hub.gate.events.is_watched());
}
