//! Creating and opening the page file.

use super::allocator::Allocator;
use super::bitmap::Bitmap;
use super::drive::{perform, read};
use super::fault::{Damage, DamageKind};
use super::identity::{Generation, PAGE_BYTES, PageBytes, PageNumber};
use super::meta::{CheckpointSummary, Meta, MetaError, Place};
use super::source::PageSource;
use super::space::PageSpace;
use super::used_map::{Places, read_directory, read_map, write_maps};
use super::workspace::Workspace;
use super::write_out::OnDisk;
use super::zone::{self, META_PAGES, directory_page, map_page};
use crate::disk::{
    Action, AlignedBuffer, Disk, DiskError, FileHandle, OpenOptions, Operation, Outcome,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// The stamp of the roots in a new file.
const FIRST_STAMP: u64 = 1;

/// Why a page file cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A page that the newest usable checkpoint needs is damaged.
    #[error("{}: {damage}", path.display())]
    Damage {
        /// The page file.
        path: PathBuf,
        /// What is damaged.
        damage: Damage,
    },
    /// Neither meta page can be read.
    #[error("{}: no checkpoint can be read: meta page 0: {first}; meta page 1: {second}", path.display())]
    NoCheckpoint {
        /// The page file.
        path: PathBuf,
        /// What is wrong with meta page 0, at offset 0.
        first: MetaError,
        /// What is wrong with meta page 1, at offset [`PAGE_BYTES`].
        second: MetaError,
    },
    /// The file was written by another version, in a way that this one does not know.
    #[error("{}: meta page {slot}: {error}", path.display())]
    Unknown {
        /// The page file.
        path: PathBuf,
        /// Which meta page says so.
        slot: u32,
        /// What is unknown.
        error: MetaError,
    },
    /// No checkpoint in the file can be continued from the log.
    #[error("{}: the log does not continue from any checkpoint: newest is {} at index {}", path.display(), newest.generation, newest.applied_index)]
    NotContinued {
        /// The page file.
        path: PathBuf,
        /// The newest checkpoint in it.
        newest: CheckpointSummary,
    },
}

/// An opened page file.
#[derive(Debug)]
pub(crate) struct OpenedFile {
    pub(crate) workspace: Workspace,
    pub(crate) meta: Meta,
    pub(crate) file: FileHandle,
    /// Why the meta page that was not used is no use, if that is so.
    pub(crate) passed_over: Option<MetaError>,
}

/// Creates an empty page file. There is either a complete file afterwards or none.
///
/// # Errors
/// The disk refuses, or there is a file of that name.
pub fn create_page_file(
    disk: &mut impl Disk,
    path: &Path,
    identity: [u64; 2],
) -> Result<(), OpenError> {
    match open_file(disk, path, OpenOptions::default()) {
        Err(DiskError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
        Ok((file, _)) => {
            perform(disk, Operation::Close { file })?;
            let (action, path) = (Action::Open, path.to_path_buf());
            return Err(DiskError::AlreadyExists { action, path }.into());
        }
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let draft = PathBuf::from(name);
    let options = OpenOptions::read_write().create();
    let file = open_file(disk, &draft, options)?.0;
    perform(disk, Operation::Truncate { file, length: 0 })?;
    let empty = EmptyFile::new(identity);
    let length = empty.bytes();
    perform(disk, Operation::Truncate { file, length })?;
    for (number, page) in &empty.pages {
        let buffer = AlignedBuffer::copy_of(&page[..]);
        perform(
            disk,
            Operation::Write {
                file,
                offset: number.offset(),
                buffer,
            },
        )?;
    }
    perform(disk, Operation::Sync { file })?;
    perform(disk, Operation::Close { file })?;
    perform(
        disk,
        Operation::Rename {
            from: draft,
            to: path.to_path_buf(),
        },
    )?;
    if let Some(directory) = path.parent() {
        perform(
            disk,
            Operation::SyncDirectory {
                path: directory.to_path_buf(),
            },
        )?;
    }
    Ok(())
}

/// An empty page file, before it is written.
#[derive(Debug)]
pub(crate) struct EmptyFile {
    /// The map pages, then the two meta pages.
    pages: Vec<(PageNumber, Box<PageBytes>)>,
    metas: [Meta; 2],
    image: Bitmap,
    places: Places,
}

impl EmptyFile {
    /// The file of this cluster and member.
    pub(crate) fn new(identity: [u64; 2]) -> EmptyFile {
        let mut image = Bitmap::default();
        for page in 0..zone::fixed_pages(0) {
            image.insert(page);
        }
        let (none, nowhere) = (Bitmap::default(), Places::default());
        let (mut pages, places) = write_maps(&image, Generation(1), (&none, &nowhere, &nowhere));
        let metas = [0, 1].map(|slot| {
            let summary = CheckpointSummary {
                generation: Generation(1 + slot),
                identity,
                ..CheckpointSummary::default()
            };
            Meta {
                summary,
                stamp: FIRST_STAMP,
                pages: u64::from(zone::fixed_pages(0)),
                directories: places.directories.clone(),
                ..Meta::default()
            }
        });
        for (slot, meta) in (0..META_PAGES).zip(&metas) {
            let mut page = Box::new([0; PAGE_BYTES]);
            meta.encode(slot, &mut page);
            pages.push((PageNumber(slot), page));
        }
        EmptyFile {
            pages,
            metas,
            image,
            places,
        }
    }

    /// Length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(zone::fixed_pages(0)) * PAGE_BYTES as u64
    }

    /// Offset and bytes of the page that is to be written after `number` others; `None` after the last one.
    pub(crate) fn page(&self, number: usize) -> Option<(u64, &[u8])> {
        let (page, bytes) = self.pages.get(number)?;
        Some((page.offset(), &bytes[..]))
    }

    /// The writer of the file, once its pages are written, and the checkpoint with which it begins. `source` reads it.
    pub(crate) fn into_workspace(
        self,
        source: Box<dyn PageSource>,
        reserve_pages: u64,
    ) -> (Workspace, Meta) {
        let [first, second] = self.metas;
        let allocated = zone::fixed_pages(0);
        let allocator = Allocator::open(source.pages(), allocated, self.image.clone(), self.image);
        let pages = source.pages();
        let space = Arc::new(PageSpace::new(Some(source), pages, second.stamp));
        let mut workspace = Workspace::new(space, allocator, reserve_pages);
        workspace.on_disk = OnDisk {
            current: second.summary,
            previous: Some(first.summary),
            current_places: self.places.clone(),
            previous_places: self.places,
            slot: 1,
            last_generation: second.summary.generation,
            ..OnDisk::default()
        };
        (workspace, second)
    }
}

fn open_file(
    disk: &mut impl Disk,
    path: &Path,
    options: OpenOptions,
) -> Result<(FileHandle, u64), DiskError> {
    let (outcome, _) = perform(
        disk,
        Operation::Open {
            path: path.to_path_buf(),
            options,
        },
    )?;
    let Outcome::Opened { file, length, .. } = outcome else {
        unreachable!("opening answers with a handle")
    };
    Ok((file, length))
}

/// A page file being opened.
struct Opening<'a, D> {
    disk: &'a mut D,
    path: &'a Path,
    file: FileHandle,
    length: u64,
}

impl<D: Disk> Opening<'_, D> {
    fn damaged(&self, page: PageNumber, kind: DamageKind) -> OpenError {
        OpenError::Damage {
            path: self.path.to_path_buf(),
            damage: Damage::new(page, kind),
        }
    }

    fn page(&mut self, page: PageNumber) -> Result<Box<PageBytes>, OpenError> {
        let buffer = read(self.disk, self.file, page.offset(), PAGE_BYTES)?;
        match buffer.first_chunk::<PAGE_BYTES>() {
            Some(bytes) => Ok(Box::new(*bytes)),
            None => Err(self.damaged(
                page,
                DamageKind::BeyondEnd {
                    length: self.length,
                },
            )),
        }
    }

    /// The page of a map or directory, checked against its place.
    fn placed(&mut self, number: PageNumber, place: &Place) -> Result<Box<PageBytes>, OpenError> {
        let page = self.page(number)?;
        let found = xxh3_64(&page[..]);
        if found != place.checksum {
            let (expected, generation) = (place.checksum, place.generation);
            return Err(self.damaged(
                number,
                DamageKind::Checksum {
                    expected,
                    found,
                    generation,
                },
            ));
        }
        Ok(page)
    }

    /// The used pages of a checkpoint, and where its maps are.
    fn image(&mut self, meta: &Meta) -> Result<(Bitmap, Places), OpenError> {
        let mut image = Bitmap::default();
        let mut places = Places {
            zones: Vec::new(),
            directories: meta.directories.clone(),
        };
        for (directory, place) in meta.directories.iter().enumerate() {
            let Some(place) = place else { continue };
            let number = directory_page(directory as u32, place.place);
            let page = self.placed(number, place)?;
            let zones = read_directory(&page, number, directory as u32)
                .map_err(|what| self.damaged(number, DamageKind::Malformed(what)))?;
            places.zones.extend(zones);
        }
        while places.zones.pop_if(|place| place.is_none()).is_some() {}
        if places.zones.len() > zone::ZONES {
            let what = "more zones than there are page numbers";
            return Err(self.damaged(directory_page(0, 0), DamageKind::Malformed(what)));
        }
        for (zone, place) in places.zones.iter().enumerate() {
            let Some(place) = place else { continue };
            let number = map_page(zone as u32, place.place);
            let page = self.placed(number, place)?;
            read_map(&page, number, zone as u32, &mut image)
                .map_err(|what| self.damaged(number, DamageKind::Malformed(what)))?;
        }
        Ok((image, places))
    }

    /// Makes a checkpoint that cannot be continued from unusable for good: its pages are free now, and with
    /// a longer log it could look usable again.
    fn erase_meta(&mut self, slot: u32) -> Result<(), OpenError> {
        let (file, offset) = (self.file, PageNumber(slot).offset());
        let buffer = AlignedBuffer::zeroed(PAGE_BYTES);
        perform(
            self.disk,
            Operation::WriteDurable {
                file,
                offset,
                buffer,
            },
        )?;
        Ok(())
    }

    /// Makes the checkpoint that is used durable. The process that wrote its meta page may have been killed before its
    /// flush, or the flush has failed, and then a further one means nothing: so the same bytes are written once more.
    /// Otherwise a later loss of power could bring back a checkpoint whose pages have been given out again.
    fn confirm_meta(&mut self, slot: u32) -> Result<(), OpenError> {
        let (file, offset) = (self.file, PageNumber(slot).offset());
        let page = self.page(PageNumber(slot))?;
        let buffer = AlignedBuffer::copy_of(&page[..]);
        perform(
            self.disk,
            Operation::WriteDurable {
                file,
                offset,
                buffer,
            },
        )?;
        Ok(())
    }

    /// Both meta pages, as far as they can be read.
    fn metas(&mut self) -> Result<[Result<Meta, MetaError>; 2], OpenError> {
        let mut metas = [Err(MetaError::NotMeta), Err(MetaError::NotMeta)];
        for slot in 0..META_PAGES {
            let page = self.page(PageNumber(slot))?;
            let meta = Meta::decode(slot, &page);
            if let Err(error @ (MetaError::Unknown { .. } | MetaError::PageBytes(_))) = meta {
                return Err(OpenError::Unknown {
                    path: self.path.to_path_buf(),
                    slot,
                    error,
                });
            }
            metas[slot as usize] = meta;
        }
        Ok(metas)
    }

    /// The checkpoint to go on from: its meta page's number and contents, and the other meta page.
    fn choose(
        &mut self,
        usable: &mut dyn FnMut(&CheckpointSummary) -> bool,
    ) -> Result<(u32, Meta, Result<Meta, MetaError>), OpenError> {
        let path = self.path.to_path_buf();
        let [first, second] = self.metas()?;
        let generation =
            |meta: &Result<Meta, MetaError>| meta.as_ref().map_or(0, |m| m.summary.generation.0);
        let newer = u32::from(generation(&second) > generation(&first));
        let (newest, older) = if newer == 0 {
            (first, second)
        } else {
            (second, first)
        };
        match (newest, older) {
            (Ok(newest), older) if usable(&newest.summary) => Ok((newer, newest, older)),
            (newest, Ok(older)) if usable(&older.summary) => Ok((1 - newer, older, newest)),
            (Ok(newest), _) => Err(OpenError::NotContinued {
                path,
                newest: newest.summary,
            }),
            (Err(first), Err(second)) => Err(OpenError::NoCheckpoint {
                path,
                first,
                second,
            }),
            (Err(_), Ok(older)) => Err(OpenError::NotContinued {
                path,
                newest: older.summary,
            }),
        }
    }
}

/// Opens the page file at `path`, whose pages `source` reads, at the newest checkpoint for which `usable`
/// holds.
pub(crate) fn open_page_file(
    disk: &mut impl Disk,
    path: &Path,
    source: Box<dyn PageSource>,
    reserve_pages: u64,
    usable: &mut dyn FnMut(&CheckpointSummary) -> bool,
) -> Result<OpenedFile, OpenError> {
    let (file, length) = open_file(disk, path, OpenOptions::read_write())?;
    let mut opening = Opening {
        disk,
        path,
        file,
        length,
    };
    let (slot, meta, other) = opening.choose(usable)?;
    let (image, places) = opening.image(&meta)?;
    let last = image.last().unwrap_or(0);
    if (u64::from(last) + 1) * PAGE_BYTES as u64 > length {
        return Err(opening.damaged(PageNumber(last), DamageKind::BeyondEnd { length }));
    }
    let last_generation = other
        .as_ref()
        .map_or(meta.summary.generation, |other| other.summary.generation)
        .max(meta.summary.generation);
    if other
        .as_ref()
        .is_ok_and(|other| other.summary.generation > meta.summary.generation)
    {
        opening.erase_meta(1 - slot)?;
    }
    opening.confirm_meta(slot)?;
    // What the older checkpoint needs stays; unless it cannot be used any more.
    let older = other
        .as_ref()
        .ok()
        .filter(|other| other.summary.generation < last_generation);
    let older_image = older.and_then(|older| Some((older.summary, opening.image(older).ok()?)));
    let mut on_disk = OnDisk {
        current: meta.summary,
        current_places: places,
        slot,
        last_generation,
        ..OnDisk::default()
    };
    let mut previous_image = Bitmap::default();
    if let Some((summary, (image, places))) = older_image {
        on_disk.previous = Some(summary);
        on_disk.previous_places = places;
        previous_image = image;
    }
    let allocated = (length / PAGE_BYTES as u64).min(u64::from(u32::MAX)) as u32;
    let allocator = Allocator::open(source.pages(), allocated, image, previous_image);
    let pages = source.pages();
    let space = Arc::new(PageSpace::new(Some(source), pages, meta.stamp));
    let mut workspace = Workspace::new(space, allocator, reserve_pages);
    workspace.on_disk = on_disk;
    Ok(OpenedFile {
        workspace,
        meta,
        file,
        passed_over: other.err(),
    })
}
