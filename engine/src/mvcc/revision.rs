//! Revisions: the names of changes.

/// The name of one change: the main revision, which counts the write requests that changed
/// something, and the change's place within that request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The main revision; the first write of an empty store makes 2.
    pub main: i64,
    /// Counts the puts and deletes of one request, from 0.
    pub sub: i64,
}

/// Length of a revision as a key of the `revisions` tree.
const REVISION_KEY_BYTES: usize = 16;

impl Revision {
    /// The revision with this main and sub.
    #[must_use]
    pub fn new(main: i64, sub: i64) -> Self {
        Self { main, sub }
    }

    /// The key of its row in the `revisions` tree: main, then sub, each 8 bytes big-endian, so that
    /// bytewise order is the order of revisions (neither is ever negative).
    #[must_use]
    pub fn key(self) -> [u8; REVISION_KEY_BYTES] {
        let both =
            (u128::from(self.main.cast_unsigned()) << 64) | u128::from(self.sub.cast_unsigned());
        both.to_be_bytes()
    }

    /// The revision that a key of the `revisions` tree names; `None` if it is none.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let both = u128::from_be_bytes(key.try_into().ok()?);
        let main = i64::try_from(both >> 64).ok()?;
        let sub = i64::try_from(both & u128::from(u64::MAX)).ok()?;
        Some(Self { main, sub })
    }
}
