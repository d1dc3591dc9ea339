//! Whether a tree page from the file is consistent in itself.

use super::cell::{CAPACITY, CellKey, LONG_KEY_HERE, PREFIX_LIMIT, SLOT_BYTES};
use super::header::{self, HEADER_BYTES};
use super::identity::{PAGE_BYTES, PageBytes};
use super::node::{Node, head_of};

/// Checks what [`NodeEdit`](super::node_edit::NodeEdit) relies on, and the order of the keys as far as the page holds them.
///
/// # Errors
/// What is wrong.
pub(crate) fn validate_tree_page(page: &PageBytes) -> Result<(), &'static str> {
    let node = Node::new(page).ok_or("not a page of a tree")?;
    let start = usize::from(header::cells_start(page));
    let slots_end = HEADER_BYTES + node.count() * SLOT_BYTES;
    if start > PAGE_BYTES || start < slots_end {
        return Err("cells and slots overlap");
    }
    let mut bytes = 0;
    for index in 0..node.count() {
        bytes += check_cell(&node, index, start)?;
    }
    let garbage = usize::from(header::garbage(page));
    if bytes + garbage != PAGE_BYTES - start || node.count() * SLOT_BYTES + bytes > CAPACITY {
        return Err("the cells do not fill their area");
    }
    if node.level() == 0 && u64::from(header::live(page)) != node.live_in(0..node.count()) {
        return Err("the count of live records is wrong");
    }
    if node.live().is_none() {
        return Err("the counts of live records are beyond all bounds");
    }
    check_order(&node)
}

fn check_cell(node: &Node<'_>, index: usize, start: usize) -> Result<usize, &'static str> {
    let slot = node.slot(index).ok_or("a slot is missing")?;
    if slot.offset() < start {
        return Err("a cell lies outside the cells");
    }
    let key = node.key(index).ok_or("a cell contradicts itself")?;
    if index >= node.first_key() && head_of(key.here, node.prefix()) != slot.head() {
        return Err("a slot does not fit its key");
    }
    if key.run.is_some() && (key.here.len() != LONG_KEY_HERE || key.length() <= LONG_KEY_HERE) {
        return Err("a long key is short");
    }
    Ok(slot.length())
}

fn check_order(node: &Node<'_>) -> Result<(), &'static str> {
    let (first, prefix) = (node.first_key(), node.prefix());
    if prefix > PREFIX_LIMIT {
        return Err("the common prefix is too long");
    }
    let mut last: Option<CellKey<'_>> = None;
    for index in first..node.count() {
        let key = node.key(index).ok_or("a cell contradicts itself")?;
        let before = last.unwrap_or(key);
        if key.here.len() < prefix || key.here.get(..prefix) != before.here.get(..prefix) {
            return Err("a key does not begin like the others");
        }
        if last.is_some_and(|last| !may_precede(&last, &key)) {
            return Err("the keys are not in order");
        }
        last = Some(key);
    }
    Ok(())
}

/// Whether one key can come before the other, by what their cells hold.
fn may_precede(before: &CellKey<'_>, after: &CellKey<'_>) -> bool {
    if before.run.is_none() && after.run.is_none() {
        return before.here < after.here;
    }
    // As far as both are known; if that is the same, the runs decide.
    let known = |key: &[u8]| key.len().min(LONG_KEY_HERE);
    before.here[..known(before.here)] <= after.here[..known(after.here)]
}
