//! Rows come back as they were written, and damage is refused.

use super::{AgreedVersion, MemberRecord, MemberTable, remove_member, save_member, save_version};
use super::{set_attributes, set_version};
use crate::btree::{Store, StoreOptions};
use crate::command::{ClusterVersion, MemberAttributes, Refusal};

fn record(id: u64) -> MemberRecord {
    MemberRecord {
        id,
        name: format!("m{id}"),
        peer_urls: vec![
            format!("http://127.0.0.1:{id}"),
            "http://[::1]:1".to_owned(),
        ],
        client_urls: vec![],
        learner: id.is_multiple_of(2),
        format: 0,
    }
}

fn store() -> Store {
    Store::in_memory(StoreOptions::default())
}

#[test]
fn rows_come_back() {
    let mut store = store();
    assert_eq!(MemberTable::load(&store).unwrap(), MemberTable::default());
    for id in [1, 2, u64::MAX] {
        save_member(&mut store, &record(id)).unwrap();
    }
    let version = AgreedVersion {
        format: 300,
        text: "3.7.0".to_owned(),
    };
    save_version(&mut store, &version).unwrap();
    for _ in 0..2 {
        remove_member(&mut store, 2).unwrap();
    }
    let table = MemberTable::load(&store).unwrap();
    let ids: Vec<u64> = table.members.keys().copied().collect();
    assert_eq!(ids, [1, u64::MAX]);
    assert_eq!(table.members[&1], record(1));
    assert_eq!(table.removed.iter().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(table.version, Some(version));
}

#[test]
fn attributes_change_what_a_member_says_of_itself_and_nothing_else() {
    let mut store = store();
    save_member(&mut store, &record(2)).unwrap();
    let mut attributes = MemberAttributes {
        member: 2,
        name: b"new",
        client_urls: b"http://a:1\nhttp://b:1",
        format: 1,
    };
    let expected = MemberRecord {
        name: "new".to_owned(),
        client_urls: vec!["http://a:1".to_owned(), "http://b:1".to_owned()],
        format: 1,
        ..record(2)
    };
    let told = set_attributes(&mut store, &attributes).unwrap();
    assert_eq!(told, Ok(expected.clone()));
    assert_eq!(MemberTable::load(&store).unwrap().members[&2], expected);
    attributes.member = 3;
    let told = set_attributes(&mut store, &attributes).unwrap();
    assert_eq!(told, Err(Refusal::MemberNotFound));
    assert_eq!(MemberTable::load(&store).unwrap().members.len(), 1);
}

#[test]
fn the_cluster_version_is_never_lowered() {
    let mut store = store();
    let mut set = |format, version| {
        let version = ClusterVersion { version, format };
        set_version(&mut store, &version).unwrap().format
    };
    assert_eq!(set(1, b"3.7.0"), 1);
    assert_eq!(set(3, b"3.7.0"), 3);
    assert_eq!(set(2, b"3.7.0"), 3);
}

#[test]
fn damaged_records_are_refused_and_never_panic() {
    let bytes = record(7).to_bytes();
    assert_eq!(MemberRecord::from_bytes(7, &bytes), Some(record(7)));
    for length in 0..bytes.len() {
        assert_eq!(MemberRecord::from_bytes(7, &bytes[..length]), None);
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(MemberRecord::from_bytes(7, &longer), None);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let _ = MemberRecord::from_bytes(7, &damaged);
        }
    }
}
