//! Everything that a store holds, read page by page, with damage as an answer.

use super::{Value, value_of};
use reeve_engine::btree::{Store, TreeId, View};
use reeve_engine::pages::{Damage, Outcome, PageSpace, Stop};
use std::collections::BTreeMap;

/// The records of all trees.
pub type Contents = BTreeMap<(u8, Vec<u8>), Value>;

/// Repeats a look, with the same view, until the pages that it needs are there or one of them is damaged.
pub fn patiently_or_damage<T>(
    space: &PageSpace,
    mut look: impl FnMut() -> Outcome<T>,
) -> Result<T, Damage> {
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(Stop::NeedPages(faults)) => {
                super::rig::check_known(&faults);
                space.bring_in(&faults[..1])?;
            }
            Err(Stop::Damage(damage)) => return Err(*damage),
            Err(stop) => panic!("{stop}"),
        }
    }
}

/// Walks over a tree, and gives each record to `each`.
fn walk_tree(
    view: &impl View,
    space: &PageSpace,
    tree: TreeId,
    mut each: impl FnMut(&[u8], Value),
) -> Result<(), Damage> {
    let mut cursor = view.cursor(tree);
    let mut entry = patiently_or_damage(space, || cursor.first())?;
    while let Some(here) = entry {
        let key = patiently_or_damage(space, || here.key())?;
        let value = patiently_or_damage(space, || value_of(&here.record()))?;
        each(key, value);
        entry = patiently_or_damage(space, || cursor.next())?;
    }
    Ok(())
}

/// Walks over the tree of keys.
pub fn walk_keys(
    view: &impl View,
    space: &PageSpace,
    each: impl FnMut(&[u8], Value),
) -> Result<(), Damage> {
    walk_tree(view, space, TreeId::Keys, each)
}

/// Walks over all trees.
fn walk(
    view: &impl View,
    space: &PageSpace,
    mut each: impl FnMut(u8, &[u8], Value),
) -> Result<(), Damage> {
    for tree in TreeId::ALL {
        walk_tree(view, space, tree, |key, value| each(tree as u8, key, value))?;
    }
    Ok(())
}

/// Everything in a store that is not damaged.
pub fn contents_of(view: &impl View, space: &PageSpace) -> Contents {
    let mut contents = Contents::new();
    walk(view, space, |tree, key, value| {
        contents.insert((tree, key.to_vec()), value);
    })
    .unwrap();
    contents
}

/// Walks over all trees, which must hold what is expected as far as they can be read.
pub fn read_all(view: &impl View, space: &PageSpace, expected: &Contents) -> Result<(), Damage> {
    let mut next = expected.iter();
    walk(view, space, |tree, key, value| {
        let ((expected_tree, expected_key), expected) = next.next().expect("a record too many");
        assert_eq!((tree, key), (*expected_tree, &expected_key[..]));
        assert_eq!(value, *expected);
    })?;
    assert_eq!(next.next(), None, "a record is missing");
    Ok(())
}

/// Looks each key up on its own: its record is what is expected, or a damaged page is named.
pub fn get_each(store: &Store, space: &PageSpace, expected: &Contents) {
    for ((tree, key), expected) in expected {
        let tree = TreeId::from_number(*tree).unwrap();
        let found = patiently_or_damage(space, || match store.get(tree, key)? {
            Some(record) => value_of(&record).map(Some),
            None => Ok(None),
        });
        if let Ok(found) = found {
            assert_eq!(found.as_ref(), Some(expected), "{key:?}");
        }
    }
}
