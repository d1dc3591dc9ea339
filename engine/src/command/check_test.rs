//! The rules of requests, case by case, in the order in which etcd applies them.

use super::check;
use super::{
    Compare, CompareTarget, DeleteRange, Operation, Put, RangeRequest, Refusal, Relation,
    SortOrder, SortTarget, Txn,
};

fn put(key: &str) -> Operation<'_> {
    Operation::Put(Put {
        key: key.as_bytes(),
        ..Put::default()
    })
}

fn delete<'a>(key: &'a str, range_end: &'a str) -> Operation<'a> {
    Operation::DeleteRange(DeleteRange {
        key: key.as_bytes(),
        range_end: range_end.as_bytes(),
        prev_kv: false,
    })
}

fn get(key: &str) -> Operation<'_> {
    Operation::Range(RangeRequest {
        key: key.as_bytes(),
        ..RangeRequest::default()
    })
}

fn then(success: Vec<Operation<'_>>) -> Txn<'_> {
    Txn {
        success,
        ..Txn::default()
    }
}

fn branches<'a>(success: Vec<Operation<'a>>, failure: Vec<Operation<'a>>) -> Operation<'a> {
    Operation::Txn(Txn {
        compares: Vec::new(),
        success,
        failure,
    })
}

fn judge(success: Vec<Operation<'_>>) -> Result<(), Refusal> {
    check::txn(&then(success), 128)
}

#[test]
fn empty_keys_are_refused_everywhere() {
    let no_key = Err(Refusal::KeyNotProvided);
    assert_eq!(check::put(&Put::default()), no_key);
    assert_eq!(check::range(&RangeRequest::default()), no_key);
    assert_eq!(check::delete_range(&DeleteRange::default()), no_key);
    for operation in [put(""), get(""), delete("", "z")] {
        assert_eq!(judge(vec![operation]), no_key);
    }
    let compare = Compare {
        key: b"",
        range_end: b"",
        target: CompareTarget::Version(0),
        relation: Relation::Equal,
    };
    let txn = Txn {
        compares: vec![compare],
        ..Txn::default()
    };
    assert_eq!(check::txn(&txn, 128), no_key);
}

#[test]
fn sort_options_must_exist() {
    let mut range = RangeRequest {
        key: b"a",
        ..RangeRequest::default()
    };
    for number in 0..3 {
        range.sort_order = SortOrder::from_number(number);
        assert_eq!(check::range(&range), Ok(()));
    }
    range.sort_order = SortOrder::from_number(3);
    assert_eq!(check::range(&range), Err(Refusal::InvalidSortOption));
    range.sort_order = SortOrder::Ascend;
    for number in 0..5 {
        range.sort_target = SortTarget::from_number(number);
        assert_eq!(check::range(&range), Ok(()));
    }
    range.sort_target = SortTarget::from_number(-1);
    assert_eq!(check::range(&range), Err(Refusal::InvalidSortOption));
    range.key = b"";
    assert_eq!(check::range(&range), Err(Refusal::KeyNotProvided));
}

#[test]
fn ignoring_and_giving_exclude_each_other() {
    let mut put = Put {
        key: b"a",
        value: b"1",
        ignore_value: true,
        ..Put::default()
    };
    assert_eq!(check::put(&put), Err(Refusal::ValueProvided));
    put.value = b"";
    assert_eq!(check::put(&put), Ok(()));
    put.lease = 7;
    assert_eq!(check::put(&put), Ok(()));
    put.ignore_lease = true;
    assert_eq!(check::put(&put), Err(Refusal::LeaseProvided));
}

#[test]
fn the_longest_list_counts_against_the_limit() {
    let gets = |count: usize| (0..count).map(|_| get("a")).collect::<Vec<_>>();
    let compare = Compare {
        key: b"a",
        range_end: b"",
        target: CompareTarget::Version(0),
        relation: Relation::Equal,
    };
    let txn = |compares, success, failure| Txn {
        compares: vec![compare; compares],
        success: gets(success),
        failure: gets(failure),
    };
    assert_eq!(check::txn(&txn(128, 128, 128), 128), Ok(()));
    let too_many = Err(Refusal::TooManyOperations);
    assert_eq!(check::txn(&txn(129, 0, 0), 128), too_many);
    assert_eq!(check::txn(&txn(0, 129, 0), 128), too_many);
    assert_eq!(check::txn(&txn(0, 0, 129), 128), too_many);
}

#[test]
fn a_nested_transaction_gets_what_is_left() {
    let nested = |outer: usize, inner: usize| {
        let mut operations: Vec<_> = (1..outer).map(|_| get("a")).collect();
        operations.push(branches((0..inner).map(|_| get("a")).collect(), vec![]));
        check::txn(&then(operations), 128)
    };
    assert_eq!(nested(100, 28), Ok(()));
    assert_eq!(nested(100, 29), Err(Refusal::TooManyOperations));
    // Siblings do not share the budget: each gets all of it.
    let sibling = || branches((0..126).map(|_| get("a")).collect(), vec![]);
    assert_eq!(judge(vec![sibling(), sibling()]), Ok(()));
}

#[test]
fn an_operation_with_nothing_in_it_is_refused() {
    assert_eq!(judge(vec![Operation::Unset]), Err(Refusal::KeyNotFound));
    let nested = branches(vec![], vec![Operation::Unset]);
    assert_eq!(judge(vec![nested]), Err(Refusal::KeyNotFound));
}

#[test]
fn puts_and_deletes_of_one_branch_must_not_meet() {
    let duplicate = Err(Refusal::DuplicateKey);
    assert_eq!(judge(vec![put("a"), put("b")]), Ok(()));
    assert_eq!(judge(vec![put("a"), put("a")]), duplicate);
    assert_eq!(judge(vec![put("a"), delete("a", "")]), duplicate);
    assert_eq!(judge(vec![delete("a", ""), put("a")]), duplicate);
    assert_eq!(judge(vec![put("b"), delete("a", "c")]), duplicate);
    assert_eq!(judge(vec![put("c"), delete("a", "c")]), Ok(()));
    assert_eq!(judge(vec![put("a\0"), delete("a", "")]), Ok(()));
    assert_eq!(judge(vec![delete("a", "c"), delete("b", "d")]), Ok(()));
    let joined = vec![
        delete("a", "c"),
        delete("e", "g"),
        delete("b", "f"),
        put("d"),
    ];
    assert_eq!(judge(joined), duplicate);
    assert_eq!(judge(vec![delete("c", "a"), put("b")]), Ok(()));
    // The quirk: everything from a key on does not count as holding the put.
    assert_eq!(judge(vec![delete("a", "\0"), put("b")]), Ok(()));
    // The branches exclude each other.
    let txn = Txn {
        compares: vec![],
        success: vec![put("a")],
        failure: vec![put("a"), delete("b", "")],
    };
    assert_eq!(check::txn(&txn, 128), Ok(()));
}

#[test]
fn nested_branches_meet_their_surroundings() {
    let duplicate = Err(Refusal::DuplicateKey);
    let both = || branches(vec![put("a")], vec![put("a")]);
    assert_eq!(judge(vec![both()]), Ok(()));
    assert_eq!(judge(vec![put("a"), both()]), duplicate);
    assert_eq!(judge(vec![both(), both()]), duplicate);
    assert_eq!(judge(vec![both(), delete("a", "b")]), duplicate);
    // A delete in a nested transaction meets the puts of this level and of later siblings,
    let deleting = || branches(vec![], vec![delete("a", "b")]);
    assert_eq!(judge(vec![put("a"), deleting()]), duplicate);
    assert_eq!(judge(vec![deleting(), both()]), duplicate);
    // but not those of earlier siblings, nor those of its own other branch.
    assert_eq!(judge(vec![both(), deleting()]), Ok(()));
    let exclusive = branches(vec![put("a")], vec![delete("a", "")]);
    assert_eq!(judge(vec![exclusive]), Ok(()));
    // Two levels down.
    let deep = branches(vec![branches(vec![put("x")], vec![])], vec![]);
    assert_eq!(judge(vec![deep, delete("w", "y")]), duplicate);
}
