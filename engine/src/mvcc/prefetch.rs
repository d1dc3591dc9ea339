//! Which rows a command will read.

use crate::btree::TreeId;
use crate::command::{Body, Command, CommandError, LeaseGrant, LeaseRevoke, Operation, Put, Txn};
use crate::lease;

/// Hands out the rows that a command will read first, so that they can be brought in while its
/// entry is being flushed. Rows that only turn out later (old values) are not among them.
///
/// # Errors
/// As [`Command::parse`].
pub fn prefetch_keys(
    command: &[u8],
    row: &mut dyn FnMut(TreeId, &[u8]),
) -> Result<(), CommandError> {
    match Command::parse(command)?.body {
        Body::Put(put) => prefetch_put(&put, row),
        Body::DeleteRange(delete) => row(TreeId::Keys, delete.key),
        Body::Txn(txn) => prefetch_txn(&txn, row),
        Body::Compact(_) => {}
        Body::LeaseGrant(LeaseGrant { id, .. }) => row(TreeId::Leases, &lease::lease_row_key(id)),
        Body::LeaseRevoke(LeaseRevoke { id, .. }) => {
            row(TreeId::Leases, &lease::lease_row_key(id));
            row(TreeId::LeaseKeys, &lease::lease_row_key(id));
        }
        // Rare, and the few rows are in memory.
        Body::MemberAttributes(_) | Body::ClusterVersion(_) | Body::Alarm(_) => {}
    }
    Ok(())
}

fn prefetch_put(put: &Put<'_>, row: &mut dyn FnMut(TreeId, &[u8])) {
    row(TreeId::Keys, put.key);
    if put.lease != 0 {
        let mut attachment = Vec::new();
        lease::lease_key(put.lease, put.key, &mut attachment);
        row(TreeId::Leases, &lease::lease_row_key(put.lease));
        row(TreeId::LeaseKeys, &attachment);
    }
}

fn prefetch_txn(txn: &Txn<'_>, row: &mut dyn FnMut(TreeId, &[u8])) {
    for compare in &txn.compares {
        row(TreeId::Keys, compare.key);
    }
    for operation in txn.success.iter().chain(&txn.failure) {
        match operation {
            Operation::Range(range) => row(TreeId::Keys, range.key),
            Operation::Put(put) => prefetch_put(put, row),
            Operation::DeleteRange(delete) => row(TreeId::Keys, delete.key),
            Operation::Txn(nested) => prefetch_txn(nested, row),
            Operation::Unset => {}
        }
    }
}
