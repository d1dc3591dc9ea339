//! Commands: the form in which a request travels to the sequencer, into the write-ahead log and to
//! the peers.
//!
//! A request is decoded where it arrives, checked ([`check`]), and encoded once into a flatbuffer
//! ([`Encoder`]); those bytes are what every later stage handles. Apply verifies them and reads
//! them in place ([`Command::parse`]): for a put nothing is allocated and nothing is copied.
//!
//! The schema is `command.fbs` in this folder. Its reader and writer are written by hand in
//! `schema`, over the verifier and the builder of the `flatbuffers` crate, because commands come
//! back from disks and peers: a buffer is verified before the first field is read, a bit or a
//! union member that this version does not know stops with an error that names it, and the number
//! of tables is bounded by the length of the buffer, so that a small hostile command cannot expand
//! into a large structure.

pub mod check;
mod encode;
mod interval;
mod parse;
mod refusal;
mod schema;
pub mod size;

#[cfg(test)]
mod check_test;
#[cfg(test)]
mod command_test;

pub use encode::Encoder;
pub use interval::Interval;
pub use parse::CommandError;
pub use refusal::Refusal;

use crate::alarms::{Alarm, AlarmCause};

/// How deep transactions may lie within transactions.
///
/// The default limit of operations (128) allows no more than 128 levels, because each level uses
/// up at least one operation of the budget that it hands down.
pub const MAX_TXN_DEPTH: usize = 256;

/// The highest format of commands that this release reads. A command, a field or a flag that an
/// older release would stop at gets a higher number, and is proposed only when the committed cluster
/// version covers that number: then every member reads it.
///
/// 1: everything but what is named below. 2: alarms.
pub const COMMAND_FORMAT: u64 = 2;

/// The format from which on alarms are proposed.
pub const ALARM_FORMAT: u64 = 2;

/// Names one request for ever: who proposed it, and which of its requests it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// The proposing member, mixed with a nonce that it draws at each start.
    pub member: u64,
    /// Counts the requests of that member since that start.
    pub sequence: u64,
}

/// What every command carries besides its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header<'a> {
    /// Finds the client that waits for the answer.
    pub request: RequestId,
    /// The name of the authenticated user; empty when there is none.
    pub user: &'a [u8],
    /// The authorization revision that the user's token was judged at; 0 when there is no user.
    pub auth_revision: u64,
}

/// One decoded command. All byte strings lie in the buffer that it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// Request id and user.
    pub header: Header<'a>,
    /// What to do.
    pub body: Body<'a>,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Writes one key.
    Put(Put<'a>),
    /// Deletes a key or an interval.
    DeleteRange(DeleteRange<'a>),
    /// Compares, then runs one of two branches.
    Txn(Txn<'a>),
    /// Gives up all history before a revision.
    Compact(Compact),
    /// Creates a lease.
    LeaseGrant(LeaseGrant),
    /// Ends a lease and deletes the keys attached to it.
    LeaseRevoke(LeaseRevoke),
    /// A member tells the others its name and where clients reach it.
    MemberAttributes(MemberAttributes<'a>),
    /// Settles what all members of the cluster understand.
    ClusterVersion(ClusterVersion<'a>),
    /// Raises or ends an alarm. Proposed only where [`ALARM_FORMAT`] is agreed.
    Alarm(AlarmChange),
}

/// Writes one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Put<'a> {
    /// The key; never empty in a checked request.
    pub key: &'a [u8],
    /// The new value.
    pub value: &'a [u8],
    /// The lease that the key is attached to from now on; 0 for none.
    pub lease: i64,
    /// Whether the answer holds the pair as it was before.
    pub prev_kv: bool,
    /// Keep the value that is there; the key must exist.
    pub ignore_value: bool,
    /// Keep the lease that is there; the key must exist.
    pub ignore_lease: bool,
}

/// Deletes a key or an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteRange<'a> {
    /// The key, or the start of the interval.
    pub key: &'a [u8],
    /// Empty for a single key, `"\0"` for everything from `key` on, else the first key that stays.
    pub range_end: &'a [u8],
    /// Whether the answer holds the deleted pairs.
    pub prev_kv: bool,
}

/// Reads a key or an interval. Travels only inside transactions; the same structure drives reads
/// that do not pass through Raft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeRequest<'a> {
    /// The key, or the start of the interval.
    pub key: &'a [u8],
    /// Empty for a single key, `"\0"` for everything from `key` on, else the first key beyond.
    pub range_end: &'a [u8],
    /// The most pairs to answer; 0 or less for all.
    pub limit: i64,
    /// The revision to read at; 0 or less for the current one.
    pub revision: i64,
    /// The order of the answer.
    pub sort_order: SortOrder,
    /// What the answer is sorted by.
    pub sort_target: SortTarget,
    /// Answer from local state, without asking the quorum. Not looked at by the engine.
    pub serializable: bool,
    /// Leave the values out, and with them the leases (as etcd 3.7 does).
    pub keys_only: bool,
    /// Answer the number of keys alone.
    pub count_only: bool,
    /// Drop pairs modified before this revision; 0 for no filter.
    pub min_mod_revision: i64,
    /// Drop pairs modified after this revision; 0 for no filter.
    pub max_mod_revision: i64,
    /// Drop pairs created before this revision; 0 for no filter.
    pub min_create_revision: i64,
    /// Drop pairs created after this revision; 0 for no filter.
    pub max_create_revision: i64,
}

/// The order of a range's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// By key, unless the target says otherwise (see [`RangeRequest::is_default_order`]).
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
    /// A number that etcd's interface does not define; checks refuse it.
    Unknown,
}

/// What a range's answer is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key, bytewise.
    #[default]
    Key,
    /// How often the key was put since its creation.
    Version,
    /// The revision of the creation.
    Create,
    /// The revision of the last put.
    Mod,
    /// The value, bytewise.
    Value,
    /// A number that etcd's interface does not define; checks refuse it.
    Unknown,
}

/// Compares, then runs one of two branches; all of it is one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn<'a> {
    /// `success` runs if all of these hold, else `failure`.
    pub compares: Vec<Compare<'a>>,
    /// Runs if every compare holds.
    pub success: Vec<Operation<'a>>,
    /// Runs if a compare does not hold.
    pub failure: Vec<Operation<'a>>,
}

/// One operation of a transaction's branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Reads.
    Range(RangeRequest<'a>),
    /// Writes one key.
    Put(Put<'a>),
    /// Deletes.
    DeleteRange(DeleteRange<'a>),
    /// A nested transaction.
    Txn(Txn<'a>),
    /// A client sent an operation with nothing in it; checks refuse it.
    Unset,
}

/// One condition of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compare<'a> {
    /// The key, or the start of the interval.
    pub key: &'a [u8],
    /// As in [`RangeRequest::range_end`]; the condition must hold for every key of the interval.
    pub range_end: &'a [u8],
    /// What is compared, and with what.
    pub target: CompareTarget<'a>,
    /// How.
    pub relation: Relation,
}

/// What a condition compares, with the given operand. An operand that the client left out, or gave
/// for another target, is 0 or empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareTarget<'a> {
    /// How often the key was put since its creation.
    Version(i64),
    /// The revision of the creation.
    Create(i64),
    /// The revision of the last put.
    Mod(i64),
    /// The value. False for an absent key, whatever the relation.
    Value(&'a [u8]),
    /// The lease id.
    Lease(i64),
    /// A number that etcd's interface does not define: counts as equal.
    Unknown,
}

/// The relation that a condition asks for: left is the store, right the operand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relation {
    /// Equal.
    #[default]
    Equal,
    /// The store's is greater.
    Greater,
    /// The store's is less.
    Less,
    /// Not equal.
    NotEqual,
    /// A number that etcd's interface does not define: always holds.
    Unknown,
}

/// Gives up all history before a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compact {
    /// The oldest revision that stays readable.
    pub revision: i64,
    /// Whether the client waits until the space is given back.
    pub physical: bool,
}

/// Creates a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseGrant {
    /// The lease's id; not 0 (the proposer draws one).
    pub id: i64,
    /// Seconds; already raised to the proposer's minimum (see `lease::clamp_ttl`), so that
    /// members with other settings store the same.
    pub ttl: i64,
}

/// Ends a lease and deletes the keys attached to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseRevoke {
    /// The lease's id.
    pub id: i64,
    /// Not 0 when a leader proposes this because the lease expired: its term. The command does
    /// nothing if its entry has another term, because then a later leader has extended the lease.
    pub expired_in_term: u64,
}

/// What a member tells of itself after each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberAttributes<'a> {
    /// Whom it is about.
    pub member: u64,
    /// Its name.
    pub name: &'a [u8],
    /// Where clients reach it, separated by line feeds.
    pub client_urls: &'a [u8],
    /// The highest format of commands that it reads ([`COMMAND_FORMAT`] of its release).
    pub format: u64,
}

/// What all members of the cluster understand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterVersion<'a> {
    /// etcd's version of the cluster, such as `3.7.0`.
    pub version: &'a [u8],
    /// The highest format of commands that may be proposed from now on.
    pub format: u64,
}

/// Raises or ends an alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlarmChange {
    /// Which.
    pub alarm: Alarm,
    /// Who wants it so.
    pub cause: AlarmCause,
    /// Whether it ends.
    pub ends: bool,
}

impl<'a> RangeRequest<'a> {
    /// The keys that the request covers.
    #[must_use]
    pub fn interval(&self) -> Interval<'a> {
        Interval::new(self.key, self.range_end)
    }

    /// Whether the answer is in ascending order of keys.
    ///
    /// As in etcd, an order of `None` counts as the default even with another target: the limit is
    /// then applied before the sorting.
    #[must_use]
    pub fn is_default_order(&self) -> bool {
        self.sort_order == SortOrder::None
            || (self.sort_target == SortTarget::Key && self.sort_order == SortOrder::Ascend)
    }

    /// Whether pairs are filtered by a revision.
    #[must_use]
    pub fn has_revision_filters(&self) -> bool {
        self.min_mod_revision != 0
            || self.max_mod_revision != 0
            || self.min_create_revision != 0
            || self.max_create_revision != 0
    }

    /// Whether a pair with these revisions passes the filters.
    #[must_use]
    pub fn passes_filters(&self, create_revision: i64, mod_revision: i64) -> bool {
        (self.max_mod_revision == 0 || mod_revision <= self.max_mod_revision)
            && (self.min_mod_revision == 0 || mod_revision >= self.min_mod_revision)
            && (self.max_create_revision == 0 || create_revision <= self.max_create_revision)
            && (self.min_create_revision == 0 || create_revision >= self.min_create_revision)
    }
}

impl<'a> DeleteRange<'a> {
    /// The keys that the request covers.
    #[must_use]
    pub fn interval(&self) -> Interval<'a> {
        Interval::new(self.key, self.range_end)
    }
}

impl<'a> Compare<'a> {
    /// The keys that the condition covers.
    #[must_use]
    pub fn interval(&self) -> Interval<'a> {
        Interval::new(self.key, self.range_end)
    }
}

impl Txn<'_> {
    /// Whether both branches hold ranges alone. Such a transaction does not pass through Raft; a
    /// nested transaction, even one that only reads, makes it a write (as in etcd).
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        let mut all = self.success.iter().chain(&self.failure);
        all.all(|operation| matches!(operation, Operation::Range(_)))
    }

    /// Whether a read-only transaction may be answered from local state: all its ranges say so.
    #[must_use]
    pub fn is_serializable(&self) -> bool {
        let mut all = self.success.iter().chain(&self.failure);
        all.all(|operation| matches!(operation, Operation::Range(range) if range.serializable))
    }
}

impl SortOrder {
    /// From the number in etcd's interface.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Ascend,
            2 => Self::Descend,
            _ => Self::Unknown,
        }
    }
}

impl SortTarget {
    /// From the number in etcd's interface.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Key,
            1 => Self::Version,
            2 => Self::Create,
            3 => Self::Mod,
            4 => Self::Value,
            _ => Self::Unknown,
        }
    }
}

impl Relation {
    /// From the number in etcd's interface (`Compare.CompareResult`).
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Equal,
            1 => Self::Greater,
            2 => Self::Less,
            3 => Self::NotEqual,
            _ => Self::Unknown,
        }
    }

    /// Whether the relation holds for the outcome of a comparison.
    #[must_use]
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Greater => ordering.is_gt(),
            Self::Less => ordering.is_lt(),
            Self::NotEqual => ordering.is_ne(),
            Self::Unknown => true,
        }
    }
}
