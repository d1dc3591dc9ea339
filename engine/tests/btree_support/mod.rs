//! What the tests of trees and pages share: a seeded generator, a model, and a store on a simulated disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    missing_docs,
    unreachable_pub
)]

pub mod contents;
pub mod rig;
pub mod script;

use reeve_engine::btree::{Entry, Record, TreeId, View};
use reeve_engine::pages::{Outcome, PageSpace, Stop};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A small generator (xorshift64*), so that a seed alone repeats a run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub inline: Vec<u8>,
    pub blob: Option<Vec<u8>>,
    pub live: bool,
}

/// What a tree has to hold. Cheap to copy.
pub type Model = BTreeMap<Rc<[u8]>, Rc<Value>>;

/// The kinds of keys that a run draws from.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub keys: u64,
    pub long_keys: bool,
    pub big_blobs: bool,
}

pub fn key(random: &mut Random, shape: Shape) -> Vec<u8> {
    let number = random.below(shape.keys);
    match number % 8 {
        0 => vec![(number / 8) as u8],
        1 => number.to_be_bytes().to_vec(),
        2 | 3 => format!("/registry/pods/namespace-{:03}/pod-{number:08}", number % 7).into_bytes(),
        4 => number
            .to_string()
            .into_bytes()
            .repeat(1 + (number % 9) as usize),
        5 if shape.long_keys => {
            // Same first kilobyte, different ends.
            let mut key = vec![b'L'; 1000 + (number % 600) as usize];
            key.extend_from_slice(&number.to_be_bytes());
            key
        }
        6 if shape.long_keys => {
            let mut key = vec![b'L'; 3000];
            key.extend_from_slice(&number.to_be_bytes());
            key.extend(std::iter::repeat_n(b'z', (number % 20_000) as usize));
            key
        }
        _ => {
            let mut key = vec![0; 1 + (number % 40) as usize];
            for (at, byte) in key.iter_mut().enumerate() {
                *byte = (number >> (at % 5)) as u8;
            }
            key
        }
    }
}

pub fn value(random: &mut Random, shape: Shape) -> Value {
    let bytes = |random: &mut Random, length: u64| {
        let fill = random.next() as u8;
        (0..length)
            .map(|at| fill.wrapping_add((at / 7) as u8))
            .collect::<Vec<u8>>()
    };
    let inline_length = random.below(60);
    let inline = bytes(random, inline_length);
    let blob_length = match random.below(20) {
        0..5 => None,
        5..15 => Some(random.below(200)),
        15..18 => Some(random.below(5000)),
        18 if shape.big_blobs => Some(random.below(1_500_000)),
        _ => Some(random.below(30_000)),
    };
    let blob = blob_length.map(|length| bytes(random, length));
    Value {
        inline,
        blob,
        live: random.below(3) > 0,
    }
}

/// What a view says of one key is what the model says.
pub fn check_get(view: &impl View, model: &Model, key: &[u8]) -> Outcome<()> {
    let found = match view.get(TreeId::Keys, key)? {
        Some(record) => Some(value_of(&record)?),
        None => None,
    };
    assert_eq!(
        found.as_ref(),
        model.get(key).map(Rc::as_ref),
        "key {key:?}"
    );
    Ok(())
}

fn value_of(record: &Record<'_>) -> Outcome<Value> {
    let blob = record.blob()?.map(<[u8]>::to_vec);
    assert_eq!(
        record.blob_length(),
        blob.as_ref().map(|blob| blob.len() as u64)
    );
    Ok(Value {
        inline: record.inline().to_vec(),
        blob,
        live: record.live(),
    })
}

pub fn check_count(view: &impl View, model: &Model, from: &[u8], to: Option<&[u8]>) -> Outcome<()> {
    let counted = view.count_live(TreeId::Keys, from, to)?;
    let expected = model
        .range(Rc::from(from)..)
        .take_while(|(key, _)| to.is_none_or(|to| &key[..] < to))
        .filter(|(_, value)| value.live)
        .count();
    assert_eq!(counted, expected as u64);
    Ok(())
}

fn same_key(entry: Option<Entry<'_>>, expected: Option<&Rc<[u8]>>) -> Outcome<()> {
    let key = match entry {
        Some(entry) => Some(entry.key()?),
        None => None,
    };
    assert_eq!(key, expected.map(Rc::as_ref));
    Ok(())
}

/// Walks of some steps from `from`: forward, forward over live records, backward.
pub fn check_walk(view: &impl View, model: &Model, from: &[u8], steps: usize) -> Outcome<()> {
    let mut cursor = view.cursor(TreeId::Keys);
    let mut expected = model.range(Rc::from(from)..);
    let mut entry = cursor.seek(from)?;
    for _ in 0..steps {
        same_key(entry, expected.next().map(|(key, _)| key))?;
        entry = cursor.next()?;
    }
    let mut live = model
        .range(Rc::from(from)..)
        .filter(|(_, value)| value.live);
    let mut entry = cursor.seek_live(from)?;
    for _ in 0..steps {
        same_key(entry, live.next().map(|(key, _)| key))?;
        entry = cursor.next_live()?;
    }
    let mut expected = model.range(..=Rc::from(from)).rev();
    let mut entry = cursor.seek_at_or_before(from)?;
    for _ in 0..steps {
        same_key(entry, expected.next().map(|(key, _)| key))?;
        entry = cursor.previous()?;
    }
    Ok(())
}

/// Repeats a look until the pages it needs are there, with the same view.
pub fn patiently<T>(space: &PageSpace, mut look: impl FnMut() -> Outcome<T>) -> T {
    loop {
        match look() {
            Err(Stop::NeedPages(faults)) => {
                rig::check_known(&faults);
                space.bring_in(&faults).unwrap();
            }
            outcome => return outcome.unwrap(),
        }
    }
}

/// The whole tree is the whole model, forward and backward.
pub fn check_all(view: &impl View, model: &Model, space: &PageSpace) {
    let mut cursor = view.cursor(TreeId::Keys);
    let mut entry = patiently(space, || cursor.first());
    for (key, value) in model {
        let here = entry.expect("the tree has as many records");
        assert_eq!(patiently(space, || here.key()), &key[..]);
        assert_eq!(patiently(space, || value_of(&here.record())), **value);
        entry = patiently(space, || cursor.next());
    }
    assert!(entry.is_none());
    let mut entry = patiently(space, || cursor.last());
    for key in model.keys().rev() {
        let here = entry.expect("the tree has as many records backwards");
        assert_eq!(patiently(space, || here.key()), &key[..]);
        entry = patiently(space, || cursor.previous());
    }
    assert!(entry.is_none());
}
