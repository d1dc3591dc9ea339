//! Pages: the numbered, checksummed blocks of the store's one file.
//!
//! A page that a reader can see is never changed. Changed pages get a new number and live as images in
//! memory until a checkpoint writes them; all others are read through one mapping of the file. See
//! `docs/architecture.md` for how this module and [`crate::btree`] fit together.

#[allow(dead_code, reason = "defragmentation follows")]
mod allocator;
mod bitmap;
pub(crate) mod cell;
mod checkpoint;
pub mod drive;
mod epoch;
mod fault;
mod fill;
mod frozen;
mod growth;
#[allow(dead_code, reason = "defragmentation follows")]
pub(crate) mod header;
mod identity;
mod image;
mod limbo;
mod meta;
pub(crate) mod node;
pub(crate) mod node_edit;
mod page_file;
mod paging;
mod pins;
mod residency;
mod source;
mod space;
mod table;
mod used_map;
mod validate;
mod workspace;
mod write_out;
mod written;
mod zone;

pub use checkpoint::{CheckpointJob, Progress, WritePlan};
pub use fault::{BadRecord, Damage, DamageKind, NoSpace, Outcome, PageFault, Stop};
pub use growth::SpaceRequest;
pub use identity::{Generation, PAGE_BYTES, PageBytes, PageNumber, Reference};
pub use meta::{CheckpointSummary, FORMAT_VERSION, MetaError};
pub use page_file::{OpenError, create_page_file};
pub use pins::PinInfo;
pub use source::{MappedSource, PageSource, SimulatedSource};
pub use space::PageSpace;
pub use write_out::WriteOutSummary;

pub(crate) use allocator::Allocator;
pub(crate) use epoch::{Published, Seat, Turn};
pub(crate) use meta::Meta;
pub(crate) use page_file::{EmptyFile, open_page_file};
pub(crate) use pins::Pins;
pub(crate) use space::{Pages, lock};
pub(crate) use validate::validate_tree_page;
pub(crate) use workspace::Workspace;
