//! Finding a key in a page.

use super::run;
use crate::pages::cell::CellKey;
use crate::pages::header::KIND_KEY;
use crate::pages::node::{Node, Slot, head_of};
use crate::pages::{Damage, Outcome, Pages, header};
use std::cmp::Ordering;

/// Damage of the page of `node`.
#[cold]
pub(crate) fn malformed(node: &Node<'_>, what: &'static str) -> Damage {
    Damage::malformed(header::number(node.page()), what)
}

/// Compares a whole key with the key of a cell. Looks at the run of a long one only if it must.
#[inline]
pub(crate) fn compare(key: &[u8], cell: &CellKey<'_>, pages: &Pages<'_>) -> Outcome<Ordering> {
    let Some(long) = &cell.run else {
        return Ok(key.cmp(cell.here));
    };
    let known = key.get(..cell.here.len());
    match known.unwrap_or(key).cmp(cell.here) {
        // All that the cell holds is the same, and `key` goes on.
        Ordering::Equal if known.is_some() => Ok(key.cmp(run::read(pages, long, KIND_KEY)?)),
        decided => Ok(decided),
    }
}

/// Finds `key` among the cells from the first whose key counts: its index, or where it would be.
#[inline]
pub(crate) fn find(
    node: &Node<'_>,
    key: &[u8],
    pages: &Pages<'_>,
) -> Outcome<Result<usize, usize>> {
    let (first, prefix) = (node.first_key(), node.prefix());
    let Some(slots) = node.slots().get(first..) else {
        return Ok(Err(0));
    };
    if prefix > 0 {
        let sample = node.key(first).and_then(|sample| sample.here.get(..prefix));
        let sample = sample.ok_or_else(|| malformed(node, "a key shorter than the prefix"))?;
        match key[..key.len().min(prefix)].cmp(sample) {
            Ordering::Less => return Ok(Err(first)),
            Ordering::Greater => return Ok(Err(node.count())),
            Ordering::Equal => {}
        }
    }
    let head = head_of(key, prefix);
    let mut low = first + slots.partition_point(|slot| Slot::from_bytes(*slot).head() < head);
    let same = node.slots().get(low..).unwrap_or(&[]);
    let mut high = low + equal_heads(same, head);
    while low < high {
        let middle = low + (high - low) / 2;
        let cell = node.key(middle);
        let cell = cell.ok_or_else(|| malformed(node, "a cell contradicts itself"))?;
        match compare(key, &cell, pages)? {
            Ordering::Less => high = middle,
            Ordering::Equal => return Ok(Ok(middle)),
            Ordering::Greater => low = middle + 1,
        }
    }
    Ok(Err(low))
}

/// How many slots from the first have this head. Mostly none or one.
fn equal_heads(slots: &[[u8; 8]], head: u32) -> usize {
    let equal = |slot: &[u8; 8]| Slot::from_bytes(*slot).head() == head;
    match slots {
        [] => 0,
        [one, ..] if !equal(one) => 0,
        [_, two, ..] if equal(two) => slots.partition_point(equal),
        _ => 1,
    }
}

/// The child of an inner page under which `key` belongs.
#[inline]
pub(crate) fn child_index(node: &Node<'_>, key: &[u8], pages: &Pages<'_>) -> Outcome<usize> {
    Ok(match find(node, key, pages)? {
        Ok(index) => index,
        Err(index) => index.saturating_sub(1),
    })
}
