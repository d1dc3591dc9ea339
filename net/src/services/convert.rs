//! Protobuf requests as engine commands. Nothing is copied: the commands borrow from the messages.

use reeve_api::etcdserverpb as pb;
use reeve_engine::command::{
    Compare, CompareTarget, DeleteRange, Operation, Put, RangeRequest, Relation, SortOrder,
    SortTarget, Txn,
};

/// A range.
pub(crate) fn range(request: &pb::RangeRequest) -> RangeRequest<'_> {
    RangeRequest {
        key: &request.key,
        range_end: &request.range_end,
        limit: request.limit,
        revision: request.revision,
        sort_order: SortOrder::from_number(request.sort_order),
        sort_target: SortTarget::from_number(request.sort_target),
        serializable: request.serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    }
}

/// A put.
pub(crate) fn put(request: &pb::PutRequest) -> Put<'_> {
    Put {
        key: &request.key,
        value: &request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

/// A delete.
pub(crate) fn delete_range(request: &pb::DeleteRangeRequest) -> DeleteRange<'_> {
    DeleteRange {
        key: &request.key,
        range_end: &request.range_end,
        prev_kv: request.prev_kv,
    }
}

/// A transaction. Its nesting is bounded by the decoder's limit (100 levels).
pub(crate) fn txn(request: &pb::TxnRequest) -> Txn<'_> {
    Txn {
        compares: request.compare.iter().map(compare).collect(),
        success: request.success.iter().map(operation).collect(),
        failure: request.failure.iter().map(operation).collect(),
    }
}

fn operation(operation: &pb::RequestOp) -> Operation<'_> {
    use pb::request_op::Request;
    match &operation.request {
        Some(Request::RequestRange(request)) => Operation::Range(range(request)),
        Some(Request::RequestPut(request)) => Operation::Put(put(request)),
        Some(Request::RequestDeleteRange(request)) => Operation::DeleteRange(delete_range(request)),
        Some(Request::RequestTxn(request)) => Operation::Txn(txn(request)),
        None => Operation::Unset,
    }
}

fn compare(compare: &pb::Compare) -> Compare<'_> {
    Compare {
        key: &compare.key,
        range_end: &compare.range_end,
        target: compare_target(compare),
        relation: Relation::from_number(compare.result),
    }
}

/// An operand that is missing, or was given for another target, counts as zero or empty.
fn compare_target(compare: &pb::Compare) -> CompareTarget<'_> {
    use pb::compare::{CompareTarget as Target, TargetUnion};
    let operand = compare.target_union.as_ref();
    match Target::try_from(compare.target) {
        Ok(Target::Version) => CompareTarget::Version(match operand {
            Some(TargetUnion::Version(version)) => *version,
            _ => 0,
        }),
        Ok(Target::Create) => CompareTarget::Create(match operand {
            Some(TargetUnion::CreateRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(Target::Mod) => CompareTarget::Mod(match operand {
            Some(TargetUnion::ModRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(Target::Value) => CompareTarget::Value(match operand {
            Some(TargetUnion::Value(value)) => value,
            _ => &[],
        }),
        Ok(Target::Lease) => CompareTarget::Lease(match operand {
            Some(TargetUnion::Lease(lease)) => *lease,
            _ => 0,
        }),
        Err(_) => CompareTarget::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_foreign_operand_is_zero() {
        let mut compare = pb::Compare {
            target: pb::compare::CompareTarget::Mod as i32,
            ..pb::Compare::default()
        };
        assert_eq!(compare_target(&compare), CompareTarget::Mod(0));
        compare.target_union = Some(pb::compare::TargetUnion::Version(7));
        assert_eq!(compare_target(&compare), CompareTarget::Mod(0));
        compare.target = 77;
        assert_eq!(compare_target(&compare), CompareTarget::Unknown);
    }

    #[test]
    fn nested_operations_keep_their_shape() {
        let inner = pb::TxnRequest {
            failure: vec![pb::RequestOp::default()],
            ..pb::TxnRequest::default()
        };
        let outer = pb::TxnRequest {
            success: vec![pb::RequestOp {
                request: Some(pb::request_op::Request::RequestTxn(inner)),
            }],
            ..pb::TxnRequest::default()
        };
        let converted = txn(&outer);
        let [Operation::Txn(nested)] = converted.success.as_slice() else {
            panic!("{converted:?}");
        };
        assert_eq!(nested.failure, [Operation::Unset]);
    }
}
