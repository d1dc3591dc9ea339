//! The trees against an ordered map in memory.
//!
//! Goal: whatever sequence of operations, keys and values, the trees answer like `BTreeMap`, and their
//! structure is sound. Method: seeded random operations on a small set of key shapes that provoke
//! splits, merges, long keys and overflow runs; after each some questions, now and then a walk over everything.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use btree_support::*;
use proptest::prelude::*;
use reeve_engine::btree::{Store, StoreOptions, TreeId};

mod btree_support;

fn run(seed: u64, shape: Shape, operations: u64) {
    let mut random = Random(seed | 1);
    let mut store = Store::in_memory(StoreOptions::default());
    let reader = store.reader();
    let mut model = Model::new();
    let mut published = Model::new();
    for operation in 0..operations {
        let key = key(&mut random, shape);
        // Phases of growth and of shrinking.
        let removes = if (operation / (operations / 6 + 1)).is_multiple_of(2) {
            3
        } else {
            8
        };
        if random.below(10) < removes {
            assert_eq!(
                store.remove(TreeId::Keys, &key).unwrap(),
                model.remove(&key[..]).is_some()
            );
        } else {
            let value = value(&mut random, shape);
            let (inline, blob) = (&value.inline, value.blob.as_deref());
            store
                .insert(TreeId::Keys, &key, inline, blob, value.live)
                .unwrap();
            model.insert(key.as_slice().into(), value.into());
        }
        check_get(&store, &model, &key).unwrap();
        let other = self::key(&mut random, shape);
        check_get(&store, &model, &other).unwrap();
        if operation % 16 == 0 {
            check_count(
                &store,
                &model,
                key.as_slice().min(&other),
                Some(key.as_slice().max(&other)),
            )
            .unwrap();
            check_count(&store, &model, &key, None).unwrap();
            check_walk(&store, &model, &other, 20).unwrap();
            let view = reader.view();
            check_get(&view, &published, &key).unwrap();
            check_walk(&view, &published, &key, 20).unwrap();
        }
        if random.below(20) == 0 {
            store.publish();
            published.clone_from(&model);
        }
        if operation % (operations / 8 + 1) == 0 {
            store.verify().unwrap();
        }
    }
    store.verify().unwrap();
    check_all(&store, &model, store.space());
    for key in model.keys().cloned().collect::<Vec<_>>() {
        assert!(store.remove(TreeId::Keys, &key).unwrap());
    }
    let census = store.verify().unwrap();
    assert_eq!(
        census.tree_pages + census.run_pages,
        0,
        "an empty tree has no page"
    );
}

#[test]
fn many_small_keys() {
    for seed in 1..=4 {
        run(
            seed,
            Shape {
                keys: 8000,
                long_keys: false,
                big_blobs: false,
            },
            30_000,
        );
    }
}

#[test]
fn few_keys_often_replaced() {
    run(
        77,
        Shape {
            keys: 200,
            long_keys: false,
            big_blobs: false,
        },
        20_000,
    );
}

#[test]
fn long_keys_and_big_blobs() {
    for seed in 1..=3 {
        run(
            seed * 1000,
            Shape {
                keys: 1200,
                long_keys: true,
                big_blobs: true,
            },
            4_000,
        );
    }
}

#[test]
fn ascending_keys_fill_their_pages() {
    let mut store = Store::in_memory(StoreOptions::default());
    for number in 0..50_000u64 {
        let key = [number.to_be_bytes(), 0u64.to_be_bytes()].concat();
        store
            .insert(TreeId::Revisions, &key, &[7; 40], Some(&[9; 100]), true)
            .unwrap();
        if number % 100 == 0 {
            store.publish();
        }
    }
    let census = store.verify().unwrap();
    assert_eq!(census.records, 50_000);
    let filled = census.leaf_bytes as f64 / (census.leaves * 8160) as f64;
    assert!(
        filled > 0.97,
        "leaves of an ascending tree are {filled} full"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn any_seed(seed: u64, keys in 10u64..3000, long_keys: bool) {
        run(seed, Shape { keys, long_keys, big_blobs: false }, 1500);
    }
}
