//! Searching pages at the edge.

use super::search::find;
use super::view::sealed::Rooted;
use super::{Store, StoreOptions};
use crate::pages::cell::{CellKey, InnerCell};
use crate::pages::node::Node;
use crate::pages::node_edit::NodeEdit;
use crate::pages::{PAGE_BYTES, Reference};

fn cell(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let key = CellKey {
        here: key,
        run: None,
    };
    let child = Reference::default();
    InnerCell { child, key }.encode(&mut bytes);
    bytes
}

/// An inner page that has lost all children but the first has no key that counts, and nothing shares a prefix.
#[test]
fn an_inner_page_with_one_child_left_leads_to_it() {
    let store = Store::in_memory(StoreOptions::default());
    let keys: [&[u8]; 4] = [b"", b"prefix 1", b"prefix 2", b"prefix 3"];
    let mut page = Box::new([0; PAGE_BYTES]);
    let mut edit = NodeEdit::format(&mut page, 0, 1);
    for (index, key) in keys.into_iter().enumerate() {
        edit.insert(index, key, &cell(key), false);
    }
    assert_eq!(edit.node().prefix(), b"prefix ".len());
    for index in [3, 2, 1] {
        edit.remove(index);
    }
    let node = Node::new(&page).unwrap();
    for key in [b"".as_slice(), b"a", b"prefix 2", b"z"] {
        assert_eq!(find(&node, key, &store.pages()).unwrap(), Err(1));
    }
}
