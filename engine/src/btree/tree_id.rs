//! The trees of a store.

/// One of the trees that share the file and its root.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum TreeId {
    /// User key to its current revision (and small value).
    Keys = 0,
    /// Revision to event.
    Revisions = 1,
    /// Lease to its time to live.
    Leases = 2,
    /// Lease and key attached to it.
    LeaseKeys = 3,
    /// Users, roles and permissions.
    Auth = 4,
    /// Members of the cluster.
    Members = 5,
    /// Applied index and other single facts.
    Meta = 6,
}

impl TreeId {
    /// How many trees there are.
    pub const COUNT: usize = 7;

    /// All trees, in the order of their numbers.
    pub const ALL: [TreeId; TreeId::COUNT] = [
        TreeId::Keys,
        TreeId::Revisions,
        TreeId::Leases,
        TreeId::LeaseKeys,
        TreeId::Auth,
        TreeId::Members,
        TreeId::Meta,
    ];

    /// The tree with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<TreeId> {
        TreeId::ALL.get(usize::from(number)).copied()
    }
}
