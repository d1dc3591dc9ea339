//! Fixed places in the file.
//!
//! The file is divided into zones of [`ZONE_PAGES`] pages. A zone begins with three places for the page
//! that maps which pages of the zone are used; every [`DIRECTORY_ZONES`]th zone also has three places for
//! a directory that refers to the maps of that many zones. The first zone begins with the two meta
//! pages, before its maps:
//!
//! ```text
//! zone 0                 meta 0, meta 1, map a, map b, map c, directory a, directory b, directory c, ..
//! zone n * 510           map a, map b, map c, directory a, directory b, directory c, ..
//! any other zone         map a, map b, map c, ..
//! ```
//!
//! Three places suffice: two may be referred to by the two meta pages, the third takes what the next
//! checkpoint writes. So the map needs no allocation that would in turn change it.

use super::header::HEADER_BYTES;
use super::identity::{PAGE_BYTES, PageNumber};

/// Pages in a zone: as many as one page has bits after its header (510 MiB of 8 KiB pages).
pub(crate) const ZONE_PAGES: u32 = ((PAGE_BYTES - HEADER_BYTES) * 8) as u32;

/// Zones that page numbers reach, all of them whole.
pub(crate) const ZONES: usize = (u32::MAX / ZONE_PAGES) as usize;

/// Bytes of a reference to a map in a directory, or to a directory in a meta page.
pub(crate) const PLACE_BYTES: usize = 16;

/// Zones whose maps one directory refers to.
pub(crate) const DIRECTORY_ZONES: u32 = ((PAGE_BYTES - HEADER_BYTES) / PLACE_BYTES) as u32;

/// Places that the page of a map or directory has.
pub(crate) const PLACES: u8 = 3;

/// The two meta pages.
pub(crate) const META_PAGES: u32 = 2;

/// First page of `zone`.
fn zone_start(zone: u32) -> u32 {
    zone * ZONE_PAGES
}

fn maps_start(zone: u32) -> u32 {
    zone_start(zone) + if zone == 0 { META_PAGES } else { 0 }
}

/// The zone of `page`.
pub(crate) fn zone_of(page: u32) -> u32 {
    page / ZONE_PAGES
}

/// Where copy `place` of the map of `zone` lies.
pub(crate) fn map_page(zone: u32, place: u8) -> PageNumber {
    assert!(place < PLACES);
    PageNumber(maps_start(zone) + u32::from(place))
}

/// Where copy `place` of directory `directory` lies.
pub(crate) fn directory_page(directory: u32, place: u8) -> PageNumber {
    assert!(place < PLACES);
    PageNumber(maps_start(directory * DIRECTORY_ZONES) + u32::from(PLACES + place))
}

/// Pages at the beginning of `zone` that are not for trees.
pub(crate) fn fixed_pages(zone: u32) -> u32 {
    let places = u32::from(PLACES);
    let directory = if zone.is_multiple_of(DIRECTORY_ZONES) {
        places
    } else {
        0
    };
    maps_start(zone) - zone_start(zone) + places + directory
}

/// Pages of fixed purpose from `from` up to but without `to`.
pub(crate) fn fixed_between(from: u32, to: u32) -> u32 {
    if from >= to {
        return 0;
    }
    let in_zone = |zone| {
        let start = zone_start(zone);
        let end = (start + fixed_pages(zone)).min(to);
        end.saturating_sub(start.max(from))
    };
    (zone_of(from)..=zone_of(to - 1)).map(in_zone).sum()
}

/// Whether `page` has a fixed purpose.
pub(crate) fn is_fixed(page: u32) -> bool {
    page - zone_start(zone_of(page)) < fixed_pages(zone_of(page))
}

const _: () = assert!(
    ZONE_PAGES.is_multiple_of(64),
    "fixed pages lie in one word of the map"
);
