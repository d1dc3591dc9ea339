//! How large a request counts, in etcd's accounting.
//!
//! Two figures matter to clients: what a request costs against the space quota, and the length that
//! is held against `--max-request-bytes`. Both must fall the same way as etcd's, to the byte.

use super::{Body, Compare, CompareTarget, DeleteRange, Operation, Put, RangeRequest, Txn};

/// What a put costs against the quota besides its key and value.
pub const PUT_OVERHEAD: u64 = 256;

/// What a lease costs against the quota.
pub const LEASE_COST: u64 = 64;

/// What etcd's envelope adds to a request when it is measured against `--max-request-bytes`: the
/// header field with a request id of ten bytes. (The id's length varies there; this is its most.)
const ENVELOPE_HEADER: usize = 14;

/// What a request costs against the space quota, in bytes. Requests that cost nothing pass even
/// when the quota is used up.
#[must_use]
pub fn quota_cost(body: &Body<'_>) -> u64 {
    match body {
        Body::Put(put) => put_cost(put),
        Body::Txn(txn) => txn_cost(txn),
        Body::LeaseGrant(_) => LEASE_COST,
        Body::DeleteRange(_)
        | Body::Compact(_)
        | Body::LeaseRevoke(_)
        | Body::MemberAttributes(_)
        | Body::ClusterVersion(_)
        | Body::Alarm(_) => 0,
    }
}

fn put_cost(put: &Put<'_>) -> u64 {
    PUT_OVERHEAD + put.key.len() as u64 + put.value.len() as u64
}

/// The dearer branch; nested transactions count.
fn txn_cost(txn: &Txn<'_>) -> u64 {
    branch_cost(&txn.success).max(branch_cost(&txn.failure))
}

fn branch_cost(operations: &[Operation<'_>]) -> u64 {
    let cost = |operation: &Operation<'_>| match operation {
        Operation::Put(put) => put_cost(put),
        Operation::Txn(txn) => txn_cost(txn),
        Operation::Range(_) | Operation::DeleteRange(_) | Operation::Unset => 0,
    };
    operations.iter().map(cost).sum()
}

/// Whether the request holds a put anywhere; such requests are refused while the NOSPACE alarm is
/// raised, and so are lease grants. They are refused when they are applied, so what this says of a command is the same in
/// every release: another answer needs another command format.
#[must_use]
pub fn needs_space(body: &Body<'_>) -> bool {
    fn txn_puts(txn: &Txn<'_>) -> bool {
        let mut all = txn.success.iter().chain(&txn.failure);
        all.any(|operation| match operation {
            Operation::Put(_) => true,
            Operation::Txn(txn) => txn_puts(txn),
            Operation::Range(_) | Operation::DeleteRange(_) | Operation::Unset => false,
        })
    }
    match body {
        Body::Put(_) | Body::LeaseGrant(_) => true,
        Body::Txn(txn) => txn_puts(txn),
        Body::DeleteRange(_)
        | Body::Compact(_)
        | Body::LeaseRevoke(_)
        | Body::MemberAttributes(_)
        | Body::ClusterVersion(_)
        | Body::Alarm(_) => false,
    }
}

/// The length that counts against `--max-request-bytes`: that of the protobuf message in which etcd
/// would propose the request.
#[must_use]
pub fn request_bytes(body: &Body<'_>) -> usize {
    ENVELOPE_HEADER + message_field(message_bytes(body))
}

/// The length of the request's own protobuf message, with default values left out.
#[must_use]
pub fn message_bytes(body: &Body<'_>) -> usize {
    match body {
        Body::Put(put) => put_bytes(put),
        Body::DeleteRange(delete) => delete_bytes(delete),
        Body::Txn(txn) => txn_bytes(txn),
        Body::Compact(compact) => number_field(compact.revision) + flag_field(compact.physical),
        Body::LeaseGrant(grant) => number_field(grant.id) + number_field(grant.ttl),
        Body::LeaseRevoke(revoke) => number_field(revoke.id),
        Body::MemberAttributes(attributes) => {
            bytes_field(attributes.name) + bytes_field(attributes.client_urls)
        }
        Body::ClusterVersion(version) => bytes_field(version.version),
        Body::Alarm(change) => {
            flag_field(true)
                + number_field(change.alarm.member.cast_signed())
                + number_field(change.alarm.kind)
        }
    }
}

fn put_bytes(put: &Put<'_>) -> usize {
    bytes_field(put.key)
        + bytes_field(put.value)
        + number_field(put.lease)
        + flag_field(put.prev_kv)
        + flag_field(put.ignore_value)
        + flag_field(put.ignore_lease)
}

fn delete_bytes(delete: &DeleteRange<'_>) -> usize {
    bytes_field(delete.key) + bytes_field(delete.range_end) + flag_field(delete.prev_kv)
}

fn range_bytes(range: &RangeRequest<'_>) -> usize {
    bytes_field(range.key)
        + bytes_field(range.range_end)
        + number_field(range.limit)
        + number_field(range.revision)
        + flag_field(range.sort_order != super::SortOrder::None)
        + flag_field(range.sort_target != super::SortTarget::Key)
        + flag_field(range.serializable)
        + flag_field(range.keys_only)
        + flag_field(range.count_only)
        + number_field(range.min_mod_revision)
        + number_field(range.max_mod_revision)
        + number_field(range.min_create_revision)
        + number_field(range.max_create_revision)
}

fn compare_bytes(compare: &Compare<'_>) -> usize {
    // An operand is a member of a oneof, so it is written even when it is 0 or empty.
    let (target, operand) = match compare.target {
        CompareTarget::Version(number) => (0, 1 + varint_bytes(number)),
        CompareTarget::Create(number) => (2, 1 + varint_bytes(number)),
        CompareTarget::Mod(number) => (2, 1 + varint_bytes(number)),
        CompareTarget::Value(value) => (2, message_field(value.len())),
        CompareTarget::Lease(number) => (2, 1 + varint_bytes(number)),
        CompareTarget::Unknown => (2, 0),
    };
    // The range end is field 64, whose tag takes two bytes.
    let range_end = match compare.range_end.len() {
        0 => 0,
        length => 1 + message_field(length),
    };
    let relation = flag_field(compare.relation != super::Relation::Equal);
    relation + target + bytes_field(compare.key) + operand + range_end
}

fn txn_bytes(txn: &Txn<'_>) -> usize {
    let operations = txn.success.iter().chain(&txn.failure);
    let compares = txn.compares.iter().map(compare_bytes).map(message_field);
    compares.sum::<usize>()
        + operations
            .map(operation_bytes)
            .map(message_field)
            .sum::<usize>()
}

fn operation_bytes(operation: &Operation<'_>) -> usize {
    message_field(match operation {
        Operation::Range(range) => range_bytes(range),
        Operation::Put(put) => put_bytes(put),
        Operation::DeleteRange(delete) => delete_bytes(delete),
        Operation::Txn(txn) => txn_bytes(txn),
        Operation::Unset => return 0,
    })
}

/// A field of a one-byte tag that holds a message or byte string of this length.
fn message_field(length: usize) -> usize {
    1 + varint_bytes(i64::try_from(length).unwrap_or(i64::MAX)) + length
}

fn bytes_field(bytes: &[u8]) -> usize {
    match bytes.len() {
        0 => 0,
        length => message_field(length),
    }
}

fn number_field(number: i64) -> usize {
    match number {
        0 => 0,
        _ => 1 + varint_bytes(number),
    }
}

fn flag_field(flag: bool) -> usize {
    if flag { 2 } else { 0 }
}

/// The length of a protobuf varint; a negative number takes ten bytes.
fn varint_bytes(number: i64) -> usize {
    let bits = 64 - number.cast_unsigned().leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}
