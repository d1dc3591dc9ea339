//! Counting live records by the counts that inner pages keep.

use super::descent::{child, open};
use super::root::TreeRoot;
use super::search::{child_index, find, malformed};
use crate::pages::{Outcome, Pages};

/// Live records with keys in `from..to` (`None`: to the end).
pub(crate) fn count_live(
    pages: &Pages<'_>,
    root: &TreeRoot,
    tree: u8,
    from: &[u8],
    to: Option<&[u8]>,
) -> Outcome<u64> {
    if root.is_empty() || to.is_some_and(|to| to <= from) {
        return Ok(0);
    }
    let end = match to {
        Some(to) => live_below(pages, root, tree, to)?,
        None => root.reference.amount,
    };
    let start = if from.is_empty() {
        0
    } else {
        live_below(pages, root, tree, from)?
    };
    Ok(end.saturating_sub(start))
}

/// Live records with keys below `key`.
fn live_below(pages: &Pages<'_>, root: &TreeRoot, tree: u8, key: &[u8]) -> Outcome<u64> {
    let mut node = open(pages, &root.reference, tree, root.level)?;
    let mut sum = 0u64;
    for level in (0..root.level).rev() {
        let index = child_index(&node, key, pages)?;
        let left = node.live_below(0..index);
        let left = left.ok_or_else(|| malformed(&node, "its counts contradict themselves"))?;
        sum = sum.saturating_add(left);
        node = open(pages, &child(&node, index)?, tree, level)?;
    }
    let index = find(&node, key, pages)?.unwrap_or_else(|index| index);
    Ok(sum.saturating_add(node.live_in(0..index)))
}
