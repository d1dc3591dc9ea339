//! The end of a store while others still read from it.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use btree_support::Value;
use btree_support::rig::Rig;
use reeve_engine::btree::{TreeId, View};

mod btree_support;

fn key(number: u32) -> Vec<u8> {
    format!("{number:08}").into_bytes()
}

/// The store ends when its node fails, on its own thread; the reactors may be in the midst of an answer then.
#[test]
fn a_view_outlives_the_store_whose_pages_were_just_written_out() {
    let mut rig = Rig::new(1 << 20);
    let value = |number: u32| Value {
        inline: number.to_le_bytes().repeat(100),
        blob: None,
        live: true,
    };
    for number in 0..1000 {
        rig.insert(&key(number), &value(number)).unwrap();
    }
    rig.store.publish();
    let reader = rig.store.reader();
    let view = reader.view();
    let record = |number: u32| view.get(TreeId::Keys, &key(number)).unwrap().unwrap();
    let records: Vec<_> = (0..1000).map(record).collect();
    rig.checkpoint(1);
    drop(rig);
    // Whatever was freed is used for something else.
    let others: Vec<Vec<u8>> = (0..1000).map(|_| vec![0xAA; 8192]).collect();
    for (number, record) in (0..).zip(records) {
        assert_eq!(record.inline(), value(number).inline, "record {number}");
    }
    drop(others);
}
