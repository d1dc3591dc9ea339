//! Page files put together from any bytes, with all checksums right. Knows the format by its offsets, as
//! it is described in `engine/src/pages`.

#![allow(clippy::unwrap_used, unreachable_pub)]

use reeve_engine::disk::SimulatedMedium;
use reeve_engine::pages::{PAGE_BYTES, create_page_file};
use std::path::Path;
use std::sync::LazyLock;
use xxhash_rust::xxh3::xxh3_64;

/// The first page that is not of fixed purpose.
pub const FIRST: usize = 8;

/// Pages of a forged file beyond those.
const PAGES: usize = 24;

const KIND: usize = 4;
const TREE: usize = 5;
const CELLS: usize = 6;
const GENERATION: usize = 8;
const HEADER: usize = 32;
const ROOTS: usize = 128;
const PLACES: usize = 1024;

/// An empty page file.
static EMPTY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (medium, path) = (SimulatedMedium::new(), Path::new("/pages"));
    create_page_file(&mut medium.attach(), path, [7, 8]).unwrap();
    medium.read_file(path).unwrap()
});

fn page(file: &mut [u8], number: usize) -> &mut [u8] {
    &mut file[number * PAGE_BYTES..(number + 1) * PAGE_BYTES]
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// A file with these bytes as its pages from [`FIRST`] on. Each page knows its number; the first page of
/// each tree (of the highest level) is its root.
pub fn forge(input: &[u8]) -> Vec<u8> {
    let mut file = EMPTY.clone();
    let count = input.len().div_ceil(PAGE_BYTES).clamp(1, PAGES);
    file.resize((FIRST + count) * PAGE_BYTES, 0);
    let length = input.len().min(count * PAGE_BYTES);
    file[FIRST * PAGE_BYTES..][..length].copy_from_slice(&input[..length]);
    // Only the first page of a run has a header.
    let (mut order, mut number) = (Vec::new(), FIRST);
    while number < FIRST + count {
        page(&mut file, number)[..4].copy_from_slice(&(number as u32).to_le_bytes());
        order.push(number);
        let header = page(&mut file, number);
        let run = if header[KIND] >= 16 {
            u16_at(header, CELLS)
        } else {
            1
        };
        number += run.max(1);
    }
    // Runs before leaves before inner pages.
    order.sort_by_key(|number| file[number * PAGE_BYTES + KIND].wrapping_add(0x10));
    for number in &order {
        complete_references(&mut file, *number, count);
    }
    let mut roots = [None; 7];
    for number in order {
        let header = page(&mut file, number);
        let is_tree = header[KIND] < 16 && u16_at(header, CELLS) > 0;
        if let Some(root) = roots.get_mut(usize::from(header[TREE])).filter(|_| is_tree) {
            *root = Some(number);
        }
    }
    for (tree, number) in roots.into_iter().enumerate() {
        if let Some(number) = number {
            let (kind, live) = (
                page(&mut file, number)[KIND],
                u16_at(page(&mut file, number), 30),
            );
            let mut reference = [0; 24];
            reference[..4].copy_from_slice(&(number as u32).to_le_bytes());
            reference[10..12].copy_from_slice(&(live as u16).to_le_bytes());
            complete(&mut file, &mut reference, 1);
            let root = &mut page(&mut file, 1)[ROOTS + tree * 32..];
            root[..24].copy_from_slice(&reference);
            root[24] = kind;
        }
    }
    let map = 2 + usize::from(file[PAGE_BYTES + PLACES + 14]) % 3;
    for number in FIRST..FIRST + count {
        page(&mut file, map)[HEADER + number / 8] |= 1 << (number % 8);
    }
    mend(&mut file);
    file
}

/// Fills in generation and checksum of the run or page that a reference names.
fn complete(file: &mut [u8], reference: &mut [u8], pages: usize) {
    let number =
        u32::from_le_bytes([reference[0], reference[1], reference[2], reference[3]]) as usize;
    let Some(bytes) = file.get(number * PAGE_BYTES..(number + pages) * PAGE_BYTES) else {
        return;
    };
    if number >= FIRST && pages > 0 {
        reference[4..10].copy_from_slice(&bytes[GENERATION..GENERATION + 6]);
        reference[16..24].copy_from_slice(&xxh3_64(bytes).to_le_bytes());
    }
}

/// Completes what a tree page refers to.
fn complete_references(file: &mut [u8], number: usize, count: usize) {
    let own = page(file, number).to_vec();
    if own[KIND] >= 16 {
        return;
    }
    for slot in 0..u16_at(&own, CELLS).min((PAGE_BYTES - HEADER) / 8) {
        let at = HEADER + slot * 8;
        let (start, length) = (u16_at(&own, at + 4), u16_at(&own, at + 6) & 0x7fff);
        let end = start + length;
        let Some([flags, rest @ ..]) = own.get(start..end) else {
            continue;
        };
        let is_inner = own[KIND] > 0;
        let mut places = Vec::new();
        if is_inner {
            places.push((start + 1, true));
        } else if flags & 1 != 0 && rest.len() >= 4 {
            places.push((start + 5 + u16_at(rest, 0) + u16_at(rest, 2), false));
        }
        if flags & (if is_inner { 1 } else { 4 }) != 0 {
            places.push((end.saturating_sub(24), false));
        }
        for (place, is_child) in places {
            let Some(reference) = own.get(place..place + 24) else {
                continue;
            };
            let mut reference = reference.to_vec();
            let pages = if is_child { 1 } else { u16_at(&reference, 14) };
            complete(file, &mut reference, pages.min(count));
            page(file, number)[place..place + 24].copy_from_slice(&reference);
        }
    }
}

/// Makes the checksums of the map, its directory and both meta pages right.
pub fn mend(file: &mut [u8]) {
    for meta in [0, 1] {
        let directory = 5 + usize::from(file[meta * PAGE_BYTES + PLACES + 14]) % 3;
        let map = 2 + usize::from(file[directory * PAGE_BYTES + HEADER + 14]) % 3;
        let checksum = xxh3_64(page(file, map));
        page(file, directory)[HEADER..HEADER + 8].copy_from_slice(&checksum.to_le_bytes());
        let checksum = xxh3_64(page(file, directory));
        page(file, meta)[PLACES..PLACES + 8].copy_from_slice(&checksum.to_le_bytes());
        let checksum = xxh3_64(&page(file, meta)[..PAGE_BYTES - 8]);
        page(file, meta)[PAGE_BYTES - 8..].copy_from_slice(&checksum.to_le_bytes());
    }
}
