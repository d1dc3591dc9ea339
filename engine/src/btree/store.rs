//! The single writer.

use super::editor::{Editor, LastInsert, Scratch};
use super::insert::NewRecord;
use super::reader::{Reader, Shared};
use super::root::{Root, TreeRoot};
use super::tree_id::TreeId;
use super::view::View;
use super::view::sealed::Rooted;
use crate::disk::{Disk, FileHandle};
use crate::pages::{
    Allocator, CheckpointSummary, EmptyFile, MetaError, OpenError, Outcome, PAGE_BYTES, PageSource,
    PageSpace, Pages, Published, Workspace, open_page_file,
};
use std::path::Path;
use std::sync::Arc;

/// Pages that a store without a file may have (64 GiB).
const MEMORY_PAGES: u32 = 1 << 23;

/// Sizes of a store. All have defaults.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of free pages that only operations which do not grow the store may use.
    pub reserve_bytes: u64,
    /// Bytes of clean pages to keep in memory at most, about.
    pub cache_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            reserve_bytes: 32 << 20,
            cache_bytes: 64 << 20,
        }
    }
}

/// A store just opened.
#[derive(Debug)]
pub struct OpenedStore {
    /// The store.
    pub store: Store,
    /// The page file, for checkpoints and for allocating space.
    pub file: FileHandle,
    /// The checkpoint with which it begins.
    pub checkpoint: CheckpointSummary,
    /// What is wrong with the other meta page, if it cannot be read: after a crash in the midst of a
    /// checkpoint that is to be expected, else it is damage.
    pub passed_over: Option<MetaError>,
}

/// All trees, and the only way to change them.
#[derive(Debug)]
pub struct Store {
    pub(super) workspace: Workspace,
    pub(super) root: Root,
    scratch: Scratch,
    last_inserts: [LastInsert; TreeId::COUNT],
    use_reserve: bool,
    shared: Arc<Shared>,
}

impl Store {
    /// An empty store without a file: it can do all but checkpoints. For tests.
    #[must_use]
    pub fn in_memory(options: StoreOptions) -> Store {
        let space = Arc::new(PageSpace::new(None, MEMORY_PAGES, 0));
        let allocator = Allocator::new(MEMORY_PAGES, MEMORY_PAGES);
        let workspace = Workspace::new(space, allocator, options.reserve_bytes / PAGE_BYTES as u64);
        Store::new(workspace, Root::default())
    }

    /// Opens the page file at `path` at the newest checkpoint for which `usable` holds: the one from
    /// which the log goes on. `source` reads the pages of the same file.
    ///
    /// # Errors
    /// The disk refuses, the file is damaged (by page and offset), of an unknown version, or has no
    /// usable checkpoint.
    pub fn open(
        disk: &mut impl Disk,
        path: &Path,
        source: Box<dyn PageSource>,
        options: &StoreOptions,
        mut usable: impl FnMut(&CheckpointSummary) -> bool,
    ) -> Result<OpenedStore, OpenError> {
        let reserve = options.reserve_bytes / PAGE_BYTES as u64;
        let opened = open_page_file(disk, path, source, reserve, &mut usable)?;
        opened
            .workspace
            .space()
            .set_cache_bytes(options.cache_bytes);
        let mut root = Root {
            stamp: opened.meta.stamp,
            ..Root::default()
        };
        for (tree, (reference, level)) in root.trees.iter_mut().zip(opened.meta.roots) {
            *tree = TreeRoot { reference, level };
        }
        Ok(OpenedStore {
            store: Store::new(opened.workspace, root),
            file: opened.file,
            checkpoint: opened.meta.summary,
            passed_over: opened.passed_over,
        })
    }

    /// The store of an empty page file whose pages have just been written; `source` reads them.
    pub(crate) fn of_empty_file(
        empty: EmptyFile,
        source: Box<dyn PageSource>,
        options: &StoreOptions,
    ) -> Store {
        let reserve = options.reserve_bytes / PAGE_BYTES as u64;
        let (workspace, meta) = empty.into_workspace(source, reserve);
        workspace.space().set_cache_bytes(options.cache_bytes);
        let root = Root {
            stamp: meta.stamp,
            ..Root::default()
        };
        Store::new(workspace, root)
    }

    fn new(workspace: Workspace, root: Root) -> Store {
        let (space, pins) = (Arc::clone(workspace.space()), Arc::clone(workspace.pins()));
        Store {
            shared: Arc::new(Shared {
                root: Published::new(root.clone()),
                pins,
                space,
            }),
            workspace,
            root,
            scratch: Scratch::default(),
            last_inserts: [LastInsert::default(); TreeId::COUNT],
            use_reserve: false,
        }
    }

    /// A read side for one more thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(&self.shared)
    }

    /// Whether insertions may use the reserve from now on: for deletes and compaction, which insert
    /// a little to free more.
    pub fn use_reserve(&mut self, use_reserve: bool) {
        self.use_reserve = use_reserve;
    }

    /// Ends the turn that the last operation began. To be called before waiting for anything, pages
    /// included: until then, what readers have left behind is not reclaimed. ([`Store::publish`] does it too.)
    pub fn rest(&mut self) {
        self.workspace.rest();
    }

    /// The pages of the store, to have some brought in.
    #[must_use]
    pub fn space(&self) -> &Arc<PageSpace> {
        self.workspace.space()
    }

    fn editor(&mut self, tree: TreeId) -> Editor<'_> {
        self.workspace.rest();
        Editor {
            workspace: &mut self.workspace,
            root: &mut self.root.trees[tree as usize],
            tree: tree as u8,
            scratch: &mut self.scratch,
            last_insert: &mut self.last_inserts[tree as usize],
            from_reserve: self.use_reserve,
        }
    }

    /// Inserts the record, or replaces the one under that key. A small `blob` lies in the leaf, a
    /// large one once, in a run of overflow pages of its own.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop), having changed nothing.
    ///
    /// # Panics
    /// If `inline` is longer than [`RECORD_INLINE_LIMIT`](super::RECORD_INLINE_LIMIT), or key or blob longer than 256 MiB.
    pub fn insert(
        &mut self,
        tree: TreeId,
        key: &[u8],
        inline: &[u8],
        blob: Option<&[u8]>,
        live: bool,
    ) -> Outcome<()> {
        self.editor(tree).insert(&NewRecord {
            key,
            inline,
            blob,
            live,
        })
    }

    /// Removes the record under `key`; false if there is none.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop), having changed nothing.
    pub fn remove(&mut self, tree: TreeId, key: &[u8]) -> Outcome<bool> {
        self.editor(tree).remove(key)
    }

    /// Makes the working root the published one: all changes since the last call become visible
    /// to readers together. Costs about a microsecond; each page is copied at most once between two calls.
    pub fn publish(&mut self) {
        let (root, shared) = (&mut self.root, &self.shared);
        self.workspace.publish(|stamp, write_outs, guard| {
            (root.stamp, root.write_outs) = (stamp, write_outs);
            shared.root.store(root.clone(), guard);
        });
    }

    /// Pages of trees and runs that the working root reaches, by the books.
    pub(crate) fn used_tree_pages(&self) -> u64 {
        self.workspace.used_tree_pages()
    }

    /// Bytes of changed pages that no checkpoint has written.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.workspace.dirty_bytes()
    }

    /// Bytes of memory in page images: the dirty pages, and others that readers or pins may still see.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        self.workspace.image_bytes()
    }
}

impl Rooted for Store {
    fn pages(&self) -> Pages<'_> {
        self.workspace.pages()
    }

    fn tree_root(&self, tree: TreeId) -> TreeRoot {
        *self.root.tree(tree)
    }
}

impl View for Store {}
