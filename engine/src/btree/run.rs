//! Runs of overflow pages: long keys and large blobs, each in adjacent pages.

use crate::pages::cell::RunShape;
use crate::pages::header::{self, HEADER_BYTES};
use crate::pages::{Damage, Outcome, PAGE_BYTES, Pages, Reference};

/// Bytes of the owner's key that a run repeats.
const HINT_LIMIT: usize = 255;

/// The longest contents of a run.
pub(crate) const RUN_LIMIT: usize = 256 << 20;

/// Who owns a run, so that its owner can be found by descent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunOwner<'a> {
    pub(crate) tree: u8,
    pub(crate) level: u8,
    /// The key of the record; empty if the run holds that key itself.
    pub(crate) key: &'a [u8],
}

impl RunOwner<'_> {
    fn hint(&self) -> &[u8] {
        &self.key[..self.key.len().min(HINT_LIMIT)]
    }
}

fn contents_start(hint: usize) -> usize {
    HEADER_BYTES + hint.next_multiple_of(8)
}

/// The shape of a run for `length` bytes of contents.
pub(crate) fn shape(owner: &RunOwner<'_>, length: usize) -> RunShape {
    assert!(
        length <= RUN_LIMIT,
        "requests are shorter than {RUN_LIMIT} bytes"
    );
    let bytes = contents_start(owner.hint().len()) + length;
    RunShape {
        length: length as u32,
        pages: bytes.div_ceil(PAGE_BYTES) as u16,
    }
}

/// Fills a run's memory, which has number and birth and is zeros else.
pub(crate) fn fill(bytes: &mut [u8], kind: u8, owner: &RunOwner<'_>, contents: &[u8]) {
    let pages = bytes.len() / PAGE_BYTES;
    let hint = owner.hint();
    let Some(page) = bytes.first_chunk_mut::<PAGE_BYTES>() else {
        unreachable!("a run has at least one page")
    };
    header::set_kind(page, kind);
    header::set_tree(page, owner.tree);
    header::set_cells(page, pages as u16);
    header::set_run_length(page, contents.len() as u32);
    header::set_run_owner_level(page, owner.level);
    header::set_run_hint(page, hint.len() as u8);
    header::set_run_hint_whole(page, u8::from(hint.len() == owner.key.len()));
    page[HEADER_BYTES..HEADER_BYTES + hint.len()].copy_from_slice(hint);
    let start = contents_start(hint.len());
    bytes[start..start + contents.len()].copy_from_slice(contents);
}

/// The contents of the run that `reference` names.
pub(crate) fn read<'a>(pages: &Pages<'a>, reference: &Reference, kind: u8) -> Outcome<&'a [u8]> {
    let shape = RunShape::of(reference);
    let malformed = |what| Damage::malformed(reference.page, what);
    if shape.pages == 0 {
        return Err(malformed("a reference to a run of no pages").into());
    }
    let bytes = pages.run(reference, shape.pages)?;
    let Some(page) = bytes.first_chunk::<PAGE_BYTES>() else {
        return Err(malformed("a run without pages").into());
    };
    let fits = header::number(page) == reference.page
        && header::kind(page) == kind
        && header::cells(page) == shape.pages
        && header::run_length(page) == shape.length;
    if !fits {
        return Err(malformed("not the run that is referred to").into());
    }
    let start = contents_start(usize::from(header::run_hint(page)));
    let contents = bytes.get(start..start + shape.length as usize);
    contents.ok_or_else(|| malformed("the contents of a run reach beyond it").into())
}
