//! The map of used pages, as it is kept in the file. See [`zone`](super::zone) for where.
//!
//! ```text
//! map page of a zone            directory
//!   0  header, kind USED_MAP      0  header, kind DIRECTORY
//!  24  u32  zone                 24  u32  number of the directory
//!  32  a bit for each page       32  places of the maps of its zones
//! ```

use super::bitmap::Bitmap;
use super::header::{self, HEADER_BYTES};
use super::identity::{Generation, PAGE_BYTES, PageBytes, PageNumber};
use super::meta::{Place, decode_place, encode_place};
use super::zone::{
    DIRECTORY_ZONES, PLACE_BYTES, PLACES, ZONE_PAGES, directory_page, map_page, zone_of,
};
use xxhash_rust::xxh3::xxh3_64;

/// Words of the map in one zone.
const ZONE_WORDS: usize = ZONE_PAGES as usize / 64;

/// Where the maps and directories of one checkpoint are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Places {
    pub(crate) zones: Vec<Option<Place>>,
    pub(crate) directories: Vec<Option<Place>>,
}

/// A page to be written to its fixed place.
pub(crate) type FixedPage = (PageNumber, Box<PageBytes>);

/// A place that neither of the last two checkpoints refers to.
fn free_place(current: Option<&Option<Place>>, previous: Option<&Option<Place>>) -> u8 {
    let taken = |place: u8| {
        let is = |known: Option<&Option<Place>>| {
            known
                .and_then(Option::as_ref)
                .is_some_and(|known| known.place == place)
        };
        is(current) || is(previous)
    };
    let Some(place) = (0..PLACES).find(|place| !taken(*place)) else {
        unreachable!("two of three places are taken at most")
    };
    place
}

fn new_page(number: PageNumber, kind: u8, generation: Generation, index: u32) -> Box<PageBytes> {
    let mut page = Box::new([0; PAGE_BYTES]);
    header::set_number_raw(&mut page, number.0);
    header::set_kind(&mut page, kind);
    header::set_generation_raw(&mut page, generation.0);
    header::set_run_length(&mut page, index);
    page
}

/// The pages to write for the image `image` of checkpoint `generation`, and where it then has its map, given
/// the last two checkpoints' images and places. Only what differs from the last is written anew.
pub(crate) fn write_maps(
    image: &Bitmap,
    generation: Generation,
    (last_image, current, previous): (&Bitmap, &Places, &Places),
) -> (Vec<FixedPage>, Places) {
    let zones = image.last().map_or(0, |last| zone_of(last) + 1);
    let mut pages = Vec::new();
    let mut places = Places::default();
    for zone in 0..zones {
        let known = current.zones.get(zone as usize);
        if let Some(Some(known)) = known.filter(|_| same_zone(image, last_image, zone)) {
            places.zones.push(Some(*known));
            continue;
        }
        let place = free_place(known, previous.zones.get(zone as usize));
        let number = map_page(zone, place);
        let mut page = new_page(number, header::KIND_USED_MAP, generation, zone);
        let words = page[HEADER_BYTES..].as_chunks_mut::<8>().0;
        for (index, word) in words.iter_mut().enumerate() {
            *word = image.word(zone as usize * ZONE_WORDS + index).to_le_bytes();
        }
        places.zones.push(Some(Place {
            place,
            checksum: xxh3_64(&page[..]),
            generation,
        }));
        pages.push((number, page));
    }
    write_directories(&mut pages, &mut places, generation, current, previous);
    (pages, places)
}

fn same_zone(image: &Bitmap, last_image: &Bitmap, zone: u32) -> bool {
    let first = zone as usize * ZONE_WORDS;
    (first..first + ZONE_WORDS).all(|index| image.word(index) == last_image.word(index))
}

fn write_directories(
    pages: &mut Vec<FixedPage>,
    places: &mut Places,
    generation: Generation,
    current: &Places,
    previous: &Places,
) {
    let zones = DIRECTORY_ZONES as usize;
    for (directory, maps) in places.zones.chunks(zones).enumerate() {
        let known = current.directories.get(directory);
        let old_end = current.zones.len().min((directory + 1) * zones);
        let old = current.zones.get(directory * zones..old_end);
        if let Some(Some(known)) = known.filter(|_| old == Some(maps)) {
            places.directories.push(Some(*known));
            continue;
        }
        let place = free_place(known, previous.directories.get(directory));
        let number = directory_page(directory as u32, place);
        let mut page = new_page(number, header::KIND_DIRECTORY, generation, directory as u32);
        let slots = page[HEADER_BYTES..].as_chunks_mut::<PLACE_BYTES>().0;
        for (slot, map) in slots.iter_mut().zip(maps) {
            *slot = encode_place(map.as_ref());
        }
        places.directories.push(Some(Place {
            place,
            checksum: xxh3_64(&page[..]),
            generation,
        }));
        pages.push((number, page));
    }
}

/// Checks a map or directory that was read from the file.
fn check(page: &PageBytes, number: PageNumber, kind: u8, index: u32) -> Result<(), &'static str> {
    let fits = header::number(page) == number
        && header::kind(page) == kind
        && header::run_length(page) == index;
    if fits {
        Ok(())
    } else {
        Err("not the page that is referred to")
    }
}

/// The places in directory `directory`.
pub(crate) fn read_directory(
    page: &PageBytes,
    number: PageNumber,
    directory: u32,
) -> Result<Vec<Option<Place>>, &'static str> {
    check(page, number, header::KIND_DIRECTORY, directory)?;
    let slots = page[HEADER_BYTES..].as_chunks::<PLACE_BYTES>().0;
    let mut places = Vec::with_capacity(slots.len());
    for slot in slots {
        places.push(decode_place(slot).ok_or("an impossible place")?);
    }
    Ok(places)
}

/// Adds the used pages of `zone` to `image`.
pub(crate) fn read_map(
    page: &PageBytes,
    number: PageNumber,
    zone: u32,
    image: &mut Bitmap,
) -> Result<(), &'static str> {
    check(page, number, header::KIND_USED_MAP, zone)?;
    for (index, word) in page[HEADER_BYTES..].as_chunks::<8>().0.iter().enumerate() {
        image.set_word(
            zone as usize * ZONE_WORDS + index,
            u64::from_le_bytes(*word),
        );
    }
    Ok(())
}
