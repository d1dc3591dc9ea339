//! What must hold of a request before it is proposed.
//!
//! These checks need no state: they run where the request arrives. The order in which they look
//! decides which error a client sees when several apply, so it is etcd's order throughout.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Compare, DeleteRange, Operation, Put, RangeRequest, Refusal, SortOrder, SortTarget, Txn,
};

/// Checks a range on its own or inside a transaction.
///
/// # Errors
/// The first rule that the request breaks.
pub fn range(request: &RangeRequest<'_>) -> Result<(), Refusal> {
    key_given(request.key)?;
    if request.sort_order == SortOrder::Unknown || request.sort_target == SortTarget::Unknown {
        return Err(Refusal::InvalidSortOption);
    }
    Ok(())
}

/// Checks a put on its own or inside a transaction.
///
/// # Errors
/// The first rule that the request breaks.
pub fn put(request: &Put<'_>) -> Result<(), Refusal> {
    key_given(request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete on its own or inside a transaction.
///
/// # Errors
/// [`Refusal::KeyNotProvided`].
pub fn delete_range(request: &DeleteRange<'_>) -> Result<(), Refusal> {
    key_given(request.key)
}

/// Checks a transaction. `max_operations` is the server's limit (128 unless configured): the
/// longest of the three lists of a transaction counts, and a nested one gets what its parent has
/// left over.
///
/// # Errors
/// The first rule that the request breaks.
pub fn txn(request: &Txn<'_>, max_operations: usize) -> Result<(), Refusal> {
    txn_operations(request, max_operations)?;
    branch_writes(&request.success)?;
    branch_writes(&request.failure)?;
    Ok(())
}

fn key_given(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(Refusal::KeyNotProvided);
    }
    Ok(())
}

fn txn_operations(request: &Txn<'_>, budget: usize) -> Result<(), Refusal> {
    let longest = request
        .compares
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    if longest > budget {
        return Err(Refusal::TooManyOperations);
    }
    for Compare { key, .. } in &request.compares {
        key_given(key)?;
    }
    for operation in request.success.iter().chain(&request.failure) {
        match operation {
            Operation::Range(request) => range(request)?,
            Operation::Put(request) => put(request)?,
            Operation::DeleteRange(request) => delete_range(request)?,
            Operation::Txn(nested) => txn_operations(nested, budget - longest)?,
            Operation::Unset => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(())
}

/// What a branch may write, nested transactions included.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Deletes<'a>,
}

/// Where an interval ends: before the key, or, if the flag is set, right after it.
type End<'a> = (&'a [u8], bool);

/// The union of the intervals of deletes: starts and ends of spans that do not overlap.
#[derive(Default)]
struct Deletes<'a> {
    spans: BTreeMap<&'a [u8], End<'a>>,
}

impl<'a> Deletes<'a> {
    /// Notes a delete. Unlike everywhere else, an end of `"\0"` is taken as it stands: such an
    /// interval holds no key. Thus etcd lets a put go together with a delete of everything from a
    /// key on, and so must we.
    fn add(&mut self, delete: &DeleteRange<'a>) {
        match delete.range_end {
            [] => self.insert(delete.key, (delete.key, true)),
            end => self.insert(delete.key, (end, false)),
        }
    }

    fn insert(&mut self, start: &'a [u8], end: End<'a>) {
        if (start, false) >= end {
            return;
        }
        let (mut start, mut end) = (start, end);
        if let Some((&before, &before_end)) = self.spans.range(..=start).next_back()
            && before_end >= (start, false)
        {
            (start, end) = (before, end.max(before_end));
        }
        while let Some((&next, &next_end)) = self.spans.range(start..).next() {
            if (next, false) > end {
                break;
            }
            end = end.max(next_end);
            self.spans.remove(next);
        }
        self.spans.insert(start, end);
    }

    fn merge(&mut self, other: Self) {
        for (start, end) in other.spans {
            self.insert(start, end);
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        let before = self.spans.range(..=key).next_back();
        before.is_some_and(|(_, &end)| (key, false) < end)
    }
}

impl<'a> Writes<'a> {
    /// Notes a put, unless it is one too many.
    fn put(&mut self, key: &'a [u8], beside: &BTreeSet<&'a [u8]>) -> Result<(), Refusal> {
        let again = self.puts.contains(key) && !beside.contains(key);
        if again || self.deletes.contains(key) {
            return Err(Refusal::DuplicateKey);
        }
        self.puts.insert(key);
        Ok(())
    }

    /// Notes what a nested transaction may write. Its branches exclude each other, so that they may
    /// share keys. Its deletes count only for what is looked at after it.
    fn nested(&mut self, then: Writes<'a>, otherwise: Writes<'a>) -> Result<(), Refusal> {
        for key in &then.puts {
            self.put(key, &BTreeSet::new())?;
        }
        for key in &otherwise.puts {
            self.put(key, &then.puts)?;
        }
        self.deletes.merge(then.deletes);
        self.deletes.merge(otherwise.deletes);
        Ok(())
    }
}

/// Refuses two puts of one key, and a put inside a delete. The order is etcd's: the deletes of this
/// level, then the nested transactions, then the puts of this level.
fn branch_writes<'a>(operations: &'a [Operation<'a>]) -> Result<Writes<'a>, Refusal> {
    let mut writes = Writes::default();
    for operation in operations {
        if let Operation::DeleteRange(delete) = operation {
            writes.deletes.add(delete);
        }
    }
    for operation in operations {
        if let Operation::Txn(nested) = operation {
            let then = branch_writes(&nested.success)?;
            let otherwise = branch_writes(&nested.failure)?;
            writes.nested(then, otherwise)?;
        }
    }
    for operation in operations {
        if let Operation::Put(Put { key, .. }) = *operation {
            writes.put(key, &BTreeSet::new())?;
        }
    }
    Ok(writes)
}
