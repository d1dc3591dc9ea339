//! Transactions.
//!
//! A transaction goes through three stages, each of which may take several slices: first all
//! compares are decided, those of nested transactions along the chosen branches included; then the
//! operations of those branches are checked; then they are carried out in order. The first two
//! stages see the state before the transaction, whatever it is going to write (etcd's rule).

use bytes::Bytes;

use super::Writer;
use super::apply::{Answer, Applied, Context, refuse_put};
use super::compare::Compares;
use super::deletes::Deletes;
use super::history::ReadPoint;
use super::key_value::KeyValues;
use super::range::{RangeProgress, Values};
use super::state::State;
use super::step::{Budget, Step};
use crate::btree::View;
use crate::command::{Body, Command, DeleteRange, Operation, Put, RangeRequest, Refusal, Txn};
use crate::pages::Outcome;

/// What a transaction came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether the compares held.
    pub succeeded: bool,
    /// One for each operation of the branch that ran.
    pub results: Vec<OperationResult>,
}

/// What one operation of a transaction came to. The revisions are those of the operations' headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationResult {
    /// A range.
    Range {
        /// The revision current at that point of the transaction.
        revision: i64,
        /// All keys that the interval held.
        count: i64,
        /// Whether the limit cut pairs off.
        more: bool,
        /// The pairs.
        pairs: KeyValues,
    },
    /// A put.
    Put {
        /// The transaction's revision.
        revision: i64,
        /// The pair that was there before; only if asked for.
        previous: Option<KeyValues>,
    },
    /// A delete.
    DeleteRange {
        /// The transaction's revision, or the one before if nothing has been changed so far.
        revision: i64,
        /// How many keys were deleted.
        deleted: i64,
        /// The pairs that were deleted; only if asked for.
        previous: KeyValues,
    },
    /// A nested transaction; its header has no revision.
    Txn(TxnResult),
}

/// One operation of the branches that were chosen, in the order in which they are carried out.
enum Flat<'a> {
    Range(&'a RangeRequest<'a>),
    Put(&'a Put<'a>),
    DeleteRange(&'a DeleteRange<'a>),
    /// A nested transaction begins; its operations follow.
    Txn {
        succeeded: bool,
        operations: usize,
    },
    Unset,
}

/// What a transaction has decided, and the work that is under way.
#[derive(Debug, Default)]
struct Progress {
    /// Which branch, for each transaction that was reached, in the order in which they begin.
    decisions: Vec<bool>,
    compares: Compares,
    decided: bool,
    checked: usize,
    next: usize,
    operation: Option<Pending>,
    results: Vec<OperationResult>,
}

/// An operation that takes several slices.
#[derive(Debug)]
enum Pending {
    Range(RangeProgress, KeyValues),
    DeleteRange(Deletes, KeyValues),
}

/// A transaction that writes, between slices.
#[derive(Debug)]
pub(crate) struct TxnWork {
    command: Bytes,
    progress: Progress,
}

impl TxnWork {
    /// The command holds a transaction, and has been parsed before.
    pub(crate) fn new(command: Bytes) -> Self {
        Self {
            command,
            progress: Progress::default(),
        }
    }

    pub(crate) fn step<W: Writer>(
        &mut self,
        context: &mut Context<'_, W>,
    ) -> Outcome<Step<Applied>> {
        let Ok(Command {
            body: Body::Txn(txn),
            ..
        }) = Command::parse(&self.command)
        else {
            unreachable!("the command was parsed when the task was made");
        };
        let progress = &mut self.progress;
        let before = context.applier.read_point(0);
        match progress.decide_and_check(context.store, &txn, before, context.budget)? {
            Step::Done(()) => {}
            Step::Refused(refusal) => return Ok(Step::Refused(refusal)),
            Step::Yield => return Ok(Step::Yield),
        }
        let flat = progress.flatten(&txn);
        while let Some(operation) = flat.get(progress.next) {
            if !context.budget.take() {
                return Ok(Step::Yield);
            }
            match progress.carry_out(operation, context)? {
                Step::Done(result) => progress.results.push(result),
                Step::Yield => return Ok(Step::Yield),
                Step::Refused(refusal) => unreachable!("{refusal}, though it was checked"),
            }
            progress.next += 1;
        }
        Ok(Step::Done(Applied::Txn {
            revision: context.read_point().current,
            result: progress.take_result(&flat),
        }))
    }
}

impl Progress {
    /// The first two stages.
    fn decide_and_check<V: View>(
        &mut self,
        view: &V,
        txn: &Txn<'_>,
        before: ReadPoint,
        budget: &mut Budget,
    ) -> Outcome<Step<()>> {
        if !self.decided {
            if self.decide(view, txn, &mut 0, before, budget)? == Step::Yield {
                return Ok(Step::Yield);
            }
            self.decided = true;
        }
        let flat = self.flatten(txn);
        while let Some(operation) = flat.get(self.checked) {
            if !budget.take() {
                return Ok(Step::Yield);
            }
            if let Some(refusal) = refuse(view, operation, before)? {
                return Ok(Step::Refused(refusal));
            }
            self.checked += 1;
        }
        Ok(Step::Done(()))
    }

    /// Decides the transaction and those in its chosen branch. `reached` counts transactions; what
    /// was decided in an earlier slice is not decided again.
    fn decide<V: View>(
        &mut self,
        view: &V,
        txn: &Txn<'_>,
        reached: &mut usize,
        before: ReadPoint,
        budget: &mut Budget,
    ) -> Outcome<Step<()>> {
        let succeeded = match self.decisions.get(*reached) {
            Some(&succeeded) => succeeded,
            None => {
                let compares = &txn.compares;
                let Step::Done(succeeded) = self.compares.step(view, compares, before, budget)?
                else {
                    return Ok(Step::Yield);
                };
                self.compares = Compares::default();
                self.decisions.push(succeeded);
                succeeded
            }
        };
        *reached += 1;
        for operation in branch(txn, succeeded) {
            if let Operation::Txn(nested) = operation
                && self.decide(view, nested, reached, before, budget)? == Step::Yield
            {
                return Ok(Step::Yield);
            }
        }
        Ok(Step::Done(()))
    }

    /// The operations of the chosen branches in order; that of the outermost transaction itself is
    /// not among them.
    fn flatten<'a>(&self, txn: &'a Txn<'a>) -> Vec<Flat<'a>> {
        let mut flat = Vec::with_capacity(txn.success.len().max(txn.failure.len()));
        let mut decisions = self.decisions.iter().copied();
        let succeeded = decisions.next().unwrap_or(false);
        flatten_branch(branch(txn, succeeded), &mut decisions, &mut flat);
        flat
    }

    fn carry_out<W: Writer>(
        &mut self,
        operation: &Flat<'_>,
        context: &mut Context<'_, W>,
    ) -> Outcome<Step<OperationResult>> {
        Ok(match operation {
            Flat::Range(range) if context.answer == Answer::Wanted => {
                let point = context.read_point();
                return self.range(context.store, range, point, context.budget);
            }
            Flat::Range(_) => Step::Done(OperationResult::Range {
                revision: context.read_point().current,
                count: 0,
                more: false,
                pairs: KeyValues::default(),
            }),
            Flat::Put(put) => {
                let (revision, previous) = context.put(put)?;
                Step::Done(OperationResult::Put { revision, previous })
            }
            Flat::DeleteRange(delete) => return self.delete_range(delete, context),
            Flat::Txn { succeeded, .. } => Step::Done(OperationResult::Txn(TxnResult {
                succeeded: *succeeded,
                results: Vec::new(),
            })),
            Flat::Unset => unreachable!("the check has refused it"),
        })
    }

    fn range<V: View>(
        &mut self,
        view: &V,
        request: &RangeRequest<'_>,
        point: ReadPoint,
        budget: &mut Budget,
    ) -> Outcome<Step<OperationResult>> {
        let pending = self.operation.get_or_insert_with(|| {
            Pending::Range(
                RangeProgress::new(Values::Loaded, true),
                KeyValues::default(),
            )
        });
        let Pending::Range(progress, pairs) = pending else {
            unreachable!("one operation at a time");
        };
        let step = progress.step(view, request, point, budget, &mut |pair| pairs.push(&pair))?;
        let summary = match step {
            Step::Done(summary) => summary,
            Step::Refused(refusal) => return Ok(Step::Refused(refusal)),
            Step::Yield => return Ok(Step::Yield),
        };
        let pairs = std::mem::take(pairs);
        self.operation = None;
        Ok(Step::Done(OperationResult::Range {
            revision: summary.revision,
            count: summary.count,
            more: summary.more,
            pairs,
        }))
    }

    fn delete_range<W: Writer>(
        &mut self,
        request: &DeleteRange<'_>,
        context: &mut Context<'_, W>,
    ) -> Outcome<Step<OperationResult>> {
        let pending = self
            .operation
            .get_or_insert_with(|| Pending::DeleteRange(Deletes::default(), KeyValues::default()));
        let Pending::DeleteRange(deletes, pairs) = pending else {
            unreachable!("one operation at a time");
        };
        let wanted = request.prev_kv && context.answer == Answer::Wanted;
        let previous = wanted.then_some(&mut *pairs);
        if deletes.step(&request.interval(), context, previous)? == Step::Yield {
            return Ok(Step::Yield);
        }
        let result = OperationResult::DeleteRange {
            revision: context.read_point().current,
            deleted: deletes.deleted(),
            previous: std::mem::take(pairs),
        };
        self.operation = None;
        Ok(Step::Done(result))
    }

    /// Puts the results of nested transactions into theirs.
    fn take_result(&mut self, flat: &[Flat<'_>]) -> TxnResult {
        let mut results = std::mem::take(&mut self.results).into_iter().zip(flat);
        let succeeded = self.decisions.first().copied().unwrap_or(false);
        TxnResult {
            succeeded,
            results: nest(&mut results, usize::MAX),
        }
    }
}

/// Takes so many results, each with those below it.
fn nest<'f, 'a: 'f>(
    results: &mut impl Iterator<Item = (OperationResult, &'f Flat<'a>)>,
    count: usize,
) -> Vec<OperationResult> {
    let mut nested = Vec::new();
    while nested.len() < count {
        let Some((mut result, flat)) = results.next() else {
            break;
        };
        if let (OperationResult::Txn(txn), Flat::Txn { operations, .. }) = (&mut result, flat) {
            txn.results = nest(results, *operations);
        }
        nested.push(result);
    }
    nested
}

fn branch<'a, 'b>(txn: &'b Txn<'a>, succeeded: bool) -> &'b [Operation<'a>] {
    if succeeded {
        &txn.success
    } else {
        &txn.failure
    }
}

fn flatten_branch<'a>(
    operations: &'a [Operation<'a>],
    decisions: &mut impl Iterator<Item = bool>,
    flat: &mut Vec<Flat<'a>>,
) {
    for operation in operations {
        match operation {
            Operation::Range(range) => flat.push(Flat::Range(range)),
            Operation::Put(put) => flat.push(Flat::Put(put)),
            Operation::DeleteRange(delete) => flat.push(Flat::DeleteRange(delete)),
            Operation::Unset => flat.push(Flat::Unset),
            Operation::Txn(nested) => {
                let succeeded = decisions.next().unwrap_or(false);
                let inner = branch(nested, succeeded);
                flat.push(Flat::Txn {
                    succeeded,
                    operations: inner.len(),
                });
                flatten_branch(inner, decisions, flat);
            }
        }
    }
}

/// What speaks against an operation, in the state before the transaction.
fn refuse<V: View>(view: &V, operation: &Flat<'_>, before: ReadPoint) -> Outcome<Option<Refusal>> {
    let ReadPoint { current, compacted } = before;
    Ok(match operation {
        Flat::Put(put) => return refuse_put(view, put, compacted),
        // A negative revision is not "current" here, as it is for a range on its own.
        Flat::Range(range) if range.revision == 0 => None,
        Flat::Range(range) if range.revision > current => Some(Refusal::FutureRevision { current }),
        Flat::Range(range) if range.revision < compacted => Some(Refusal::Compacted { compacted }),
        Flat::Range(range) if range.key.is_empty() => Some(Refusal::KeyNotProvided),
        Flat::DeleteRange(delete) if delete.key.is_empty() => Some(Refusal::KeyNotProvided),
        Flat::Unset => Some(Refusal::KeyNotFound),
        Flat::Range(_) | Flat::DeleteRange(_) | Flat::Txn { .. } => None,
    })
}

/// A transaction that only reads; it does not pass through Raft.
///
/// All slices must be given views of one root: pin it if the first slice does not finish.
#[derive(Debug)]
pub struct ReadTxnTask<'r> {
    txn: &'r Txn<'r>,
    progress: Progress,
}

impl<'r> ReadTxnTask<'r> {
    /// The transaction must be [read-only](Txn::is_read_only).
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn new(txn: &'r Txn<'r>) -> Self {
        assert!(txn.is_read_only(), "the transaction writes");
        Self {
            txn,
            progress: Progress::default(),
        }
    }

    /// Goes on. The revision beside the result is the header's.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn step<V: View>(
        &mut self,
        view: &V,
        budget: &mut Budget,
    ) -> Outcome<Step<(i64, TxnResult)>> {
        let state = State::load(view)?;
        let point = ReadPoint {
            current: state.revision,
            compacted: state.compacted,
        };
        let progress = &mut self.progress;
        match progress.decide_and_check(view, self.txn, point, budget)? {
            Step::Done(()) => {}
            Step::Refused(refusal) => return Ok(Step::Refused(refusal)),
            Step::Yield => return Ok(Step::Yield),
        }
        let flat = progress.flatten(self.txn);
        while let Some(operation) = flat.get(progress.next) {
            let Flat::Range(range) = operation else {
                unreachable!("the transaction is read-only");
            };
            match progress.range(view, range, point, budget)? {
                Step::Done(result) => progress.results.push(result),
                other => return Ok(refused_or_yield(other)),
            }
            progress.next += 1;
        }
        let result = progress.take_result(&flat);
        Ok(Step::Done((state.revision, result)))
    }
}

fn refused_or_yield<A, B>(step: Step<A>) -> Step<B> {
    match step {
        Step::Refused(refusal) => Step::Refused(refusal),
        Step::Done(_) | Step::Yield => Step::Yield,
    }
}
