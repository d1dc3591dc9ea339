//! Requests of the etcd v3 API. Field numbers are those of `rpc.proto`, `v3lock.proto` and
//! `v3election.proto`.

use super::{boolean, bytes, integer, nested};

/// A range request; the default reads one key at the current revision, linearizably.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range<'a> {
    /// First key.
    pub key: &'a [u8],
    /// End of the interval, exclusive; empty for one key, a zero byte for "all from `key` on".
    pub end: &'a [u8],
    /// Keys to return at most, 0 for all.
    pub limit: i64,
    /// Revision to read at, 0 for the current one.
    pub revision: i64,
    /// Answer from the member's own state, without a quorum.
    pub serializable: bool,
    /// Leave the values out.
    pub keys_only: bool,
    /// Return only the number of keys.
    pub count_only: bool,
}

impl Range<'_> {
    /// Appends the request.
    pub fn write(&self, out: &mut Vec<u8>) {
        bytes(out, 1, self.key);
        bytes(out, 2, self.end);
        integer(out, 3, self.limit);
        integer(out, 4, self.revision);
        boolean(out, 7, self.serializable);
        boolean(out, 8, self.keys_only);
        boolean(out, 9, self.count_only);
    }
}

/// A put with an optional lease (0 for none).
pub fn put(out: &mut Vec<u8>, key: &[u8], value: &[u8], lease: i64) {
    bytes(out, 1, key);
    bytes(out, 2, value);
    integer(out, 3, lease);
}

/// Deletion of one key, or of [key, end).
pub fn delete(out: &mut Vec<u8>, key: &[u8], end: &[u8]) {
    bytes(out, 1, key);
    bytes(out, 2, end);
}

/// Compaction at `revision`; `physical` waits until the space is free.
pub fn compact(out: &mut Vec<u8>, revision: i64, physical: bool) {
    integer(out, 1, revision);
    boolean(out, 2, physical);
}

/// A transaction, written part by part.
pub struct Txn<'a>(pub &'a mut Vec<u8>);

impl Txn<'_> {
    /// Compares the key's modification revision for equality (0: the key does not exist).
    pub fn if_revision(&mut self, key: &[u8], revision: i64) -> &mut Self {
        const TARGET_MOD: i64 = 2;
        nested(self.0, 1, |out| {
            integer(out, 2, TARGET_MOD);
            bytes(out, 3, key);
            // The member of a oneof is written even when it is zero.
            super::varint(out, 6 << 3);
            super::varint(out, revision as u64);
        });
        self
    }

    /// Puts when the comparisons hold.
    pub fn then_put(&mut self, key: &[u8], value: &[u8], lease: i64) -> &mut Self {
        nested(self.0, 2, |out| {
            nested(out, 2, |out| put(out, key, value, lease))
        });
        self
    }

    /// Deletes when the comparisons hold.
    pub fn then_delete(&mut self, key: &[u8]) -> &mut Self {
        nested(self.0, 2, |out| nested(out, 3, |out| delete(out, key, &[])));
        self
    }

    /// Reads when the comparisons hold.
    pub fn then_range(&mut self, range: &Range<'_>) -> &mut Self {
        nested(self.0, 2, |out| nested(out, 1, |out| range.write(out)));
        self
    }

    /// Reads when a comparison fails.
    pub fn else_range(&mut self, range: &Range<'_>) -> &mut Self {
        nested(self.0, 3, |out| nested(out, 1, |out| range.write(out)));
        self
    }
}

/// Creates a watcher; `start` is the first revision wanted, 0 for "from now on".
pub fn watch_create(out: &mut Vec<u8>, key: &[u8], end: &[u8], start: i64, previous: bool) {
    nested(out, 1, |out| {
        bytes(out, 1, key);
        bytes(out, 2, end);
        integer(out, 3, start);
        boolean(out, 6, previous);
    });
}

/// Grants a lease of `ttl` seconds under a number the server chooses.
pub fn lease_grant(out: &mut Vec<u8>, ttl: i64) {
    integer(out, 1, ttl);
}

/// Names a lease: the request of LeaseRevoke and of LeaseKeepAlive.
pub fn lease(out: &mut Vec<u8>, id: i64) {
    integer(out, 1, id);
}

/// Authenticates `name` with `password`.
pub fn authenticate(out: &mut Vec<u8>, name: &str, password: &str) {
    bytes(out, 1, name.as_bytes());
    bytes(out, 2, password.as_bytes());
}

/// Acquires the lock `name` under `lease`.
pub fn lock(out: &mut Vec<u8>, name: &[u8], lease: i64) {
    bytes(out, 1, name);
    integer(out, 2, lease);
}

/// Releases the lock whose ownership key is `key`.
pub fn unlock(out: &mut Vec<u8>, key: &[u8]) {
    bytes(out, 1, key);
}

/// Campaigns in the election `name` under `lease` with the proclaimed `value`.
pub fn campaign(out: &mut Vec<u8>, name: &[u8], lease: i64, value: &[u8]) {
    bytes(out, 1, name);
    integer(out, 2, lease);
    bytes(out, 3, value);
}

/// Gives up the leadership described by the `LeaderKey` message that a campaign answered.
pub fn resign(out: &mut Vec<u8>, leader: &[u8]) {
    bytes(out, 1, leader);
}
