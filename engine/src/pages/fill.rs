//! Filling in the checksums of what a page refers to.

use super::cell::{
    BLOB_RUN, INNER_KEY, LEAF_KEY, LONG_KEY, REFERENCE_BYTES, decode_reference, encode_reference,
};
use super::identity::{PageBytes, Reference};
use super::node::Node;

/// Lets `fill` complete every reference of a tree page that is not filled.
pub(crate) fn fill_references(page: &mut PageBytes, mut fill: impl FnMut(&mut Reference)) {
    let mut places = [0; 2];
    let count = Node::new(page).map_or(0, |node| node.count());
    for index in 0..count {
        let found = reference_offsets(page, index, &mut places);
        for at in &places[..found] {
            let Some(bytes) = page[*at..].first_chunk::<REFERENCE_BYTES>() else {
                unreachable!("cells of a page made here lie inside it")
            };
            let mut reference = decode_reference(bytes);
            if !reference.is_filled() {
                fill(&mut reference);
                page[*at..*at + REFERENCE_BYTES].copy_from_slice(&encode_reference(&reference));
            }
        }
    }
}

/// Whether all references of a valid tree page are filled, as they are in every page of the file.
pub(crate) fn is_filled(page: &PageBytes) -> bool {
    let mut places = [0; 2];
    let count = Node::new(page).map_or(0, |node| node.count());
    (0..count).all(|index| {
        let found = reference_offsets(page, index, &mut places);
        places[..found].iter().all(|at| {
            let bytes = page[*at..].first_chunk::<REFERENCE_BYTES>();
            bytes.is_some_and(|bytes| decode_reference(bytes).is_filled())
        })
    })
}

/// The offsets in the page of the references in cell `index`; how many there are.
fn reference_offsets(page: &PageBytes, index: usize, into: &mut [usize; 2]) -> usize {
    let Some(node) = Node::new(page) else {
        return 0;
    };
    let Some(slot) = node.slot(index) else {
        return 0;
    };
    let (start, end) = (slot.offset(), slot.offset() + slot.length());
    let flags = page[start];
    let mut count = 0;
    let mut add = |at: usize| {
        into[count] = at;
        count += 1;
    };
    if node.level() > 0 {
        add(start + 1);
        if flags & LONG_KEY != 0 {
            assert!(end - start >= INNER_KEY + REFERENCE_BYTES, "a valid cell");
            add(end - REFERENCE_BYTES);
        }
    } else {
        if flags & LONG_KEY != 0 {
            let length = |at: usize| usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
            add(start + LEAF_KEY + length(start + 1) + length(start + 3));
        }
        if flags & BLOB_RUN != 0 {
            add(end - REFERENCE_BYTES);
        }
    }
    count
}
