//! Room in the page file: free pages that lie apart are no room for a large value.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use btree_support::Value;
use btree_support::rig::Rig;

mod btree_support;

const CACHE_BYTES: u64 = 512 << 10;

fn key(number: u32) -> Vec<u8> {
    format!("{number:08}").into_bytes()
}

fn value(length: usize) -> Value {
    Value {
        inline: Vec::new(),
        blob: Some(vec![7; length]),
        live: true,
    }
}

/// A store with some thousand free pages, few of them adjacent, and no room at the end of its file.
fn scattered() -> Rig {
    let mut rig = Rig::new(CACHE_BYTES);
    for number in 0..30_000 {
        rig.insert(&key(number), &value(1000)).unwrap();
    }
    rig.store.publish();
    // About every third leaf is emptied.
    for number in (0..30_000).filter(|number| number / 14 % 3 == 0) {
        rig.remove(&key(number)).unwrap();
    }
    for _ in 0..5 {
        rig.store.publish();
    }
    rig
}

#[test]
fn large_values_fit_beside_scattered_free_pages() {
    let mut rig = scattered();
    for number in 0..60 {
        rig.insert(&format!("large {number}").into_bytes(), &value(1 << 20))
            .unwrap();
    }
    rig.store.verify().unwrap();
}
