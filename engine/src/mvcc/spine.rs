//! The skip chain that leads from the newest version of a key to any older one in O(log n) hops.
//!
//! Each version of a key points to its predecessor, and most of the time also further back. Where
//! to is decided by counting in skew-binary numbers: the versions of a key are kept as a list of
//! complete trees whose sizes are 2^rank - 1, newest first, and a new version either joins the two
//! newest trees under itself (if they are of one rank) or becomes a tree of its own. Its jump
//! pointer leads past its tree. (E. W. Myers, "An applicative random-access stack", Information
//! Processing Letters 17, 1983; the list of trees is Okasaki's view of it.)
//!
//! The roots of these trees are the *spine*. Keeping it in the key's row, a few bytes for each of
//! at most log2(n) trees, makes a put independent of the older versions: it never has to read one,
//! and they may well be on pages that are not in memory.

use super::codec::{RowReader, put_varint};
use super::revision::Revision;

/// Ranks above this would mean more versions than revisions can exist.
const MAX_RANK: u8 = 63;

/// Set on a rank when the sub revision follows.
const HAS_SUB: u8 = 0x80;

/// One complete tree of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionTree {
    /// It holds 2^rank - 1 versions.
    pub(crate) rank: u8,
    /// The newest of them.
    pub(crate) root: Revision,
}

/// The older trees of a key, as its row holds them; the newest tree's root is the key's current
/// revision and stands elsewhere in the row.
///
/// Layout: for each tree, newest first: one byte rank, with [`HAS_SUB`] if the sub revision is not
/// 0; the distance of its root's main revision from that of the tree before it (varint); the sub
/// revision (varint) if announced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OlderTrees<'a> {
    reader: RowReader<'a>,
    main: i64,
    damaged: bool,
}

impl<'a> OlderTrees<'a> {
    /// `newest` is the main revision of the newest tree's root.
    pub(crate) fn new(bytes: &'a [u8], newest: i64) -> Self {
        Self {
            reader: RowReader::new(bytes),
            main: newest,
            damaged: false,
        }
    }

    /// Whether reading came upon something that no writer writes.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged
    }

    fn read(&mut self) -> Option<VersionTree> {
        let byte = self.reader.byte()?;
        let rank = byte & !HAS_SUB;
        let main = self.main.checked_sub(self.reader.number()?)?;
        let sub = match byte & HAS_SUB {
            0 => 0,
            _ => self.reader.number()?,
        };
        if rank == 0 || rank > MAX_RANK || main < 0 {
            return None;
        }
        self.main = main;
        Some(VersionTree {
            rank,
            root: Revision::new(main, sub),
        })
    }
}

impl Iterator for OlderTrees<'_> {
    type Item = VersionTree;

    fn next(&mut self) -> Option<VersionTree> {
        if self.damaged || self.reader.is_empty() {
            return None;
        }
        let tree = self.read();
        self.damaged = tree.is_none();
        tree
    }
}

/// Where the new version's tree stands, once it has been pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// The rank of the tree whose root the new version is.
    pub(crate) rank: u8,
    /// Where the new version's jump pointer leads; `None` if past the oldest version, or to the
    /// predecessor, to which there is a pointer anyway.
    pub(crate) jump: Option<Revision>,
}

/// Pushes the version `new` before the versions of `current` and `older`, and appends the older
/// trees of the result to `spine`. Trees whose root lies before `compacted` are left out: no read
/// ever goes there.
pub(crate) fn push(
    new: Revision,
    current: VersionTree,
    older: &mut OlderTrees<'_>,
    compacted: i64,
    spine: &mut Vec<u8>,
) -> Pushed {
    let mut writer = SpineWriter {
        main: new.main,
        compacted,
        spine,
    };
    let second = older.next();
    if let Some(second) = second
        && second.rank == current.rank
    {
        let third = older.next();
        let rest = third.into_iter().chain(older);
        rest.for_each(|tree| writer.write(tree));
        return Pushed {
            rank: current.rank + 1,
            jump: third
                .map(|tree| tree.root)
                .filter(|root| root.main >= compacted),
        };
    }
    let trees = [Some(current), second].into_iter().flatten().chain(older);
    trees.for_each(|tree| writer.write(tree));
    Pushed {
        rank: 1,
        jump: None,
    }
}

struct SpineWriter<'a> {
    main: i64,
    compacted: i64,
    spine: &'a mut Vec<u8>,
}

impl SpineWriter<'_> {
    fn write(&mut self, tree: VersionTree) {
        let VersionTree { rank, root } = tree;
        if root.main < self.compacted {
            return;
        }
        assert!(
            root.main <= self.main,
            "trees of versions stand in descending order"
        );
        let sub_flag = if root.sub == 0 { 0 } else { HAS_SUB };
        self.spine.push(rank | sub_flag);
        put_varint(self.spine, self.main.abs_diff(root.main));
        if root.sub != 0 {
            put_varint(self.spine, root.sub.unsigned_abs());
        }
        self.main = root.main;
    }
}
