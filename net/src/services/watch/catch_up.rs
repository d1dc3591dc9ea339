//! Reading past events from the store for watchers that lag.

use super::deliveries::Deliveries;
use super::hub::{CatchUp, Hub};
use crate::sequencer::Failure;
use reeve_engine::command::{Interval, Refusal};
use reeve_engine::mvcc::{
    Budget, Event, ScanSummary, State, Step, WatchScan, append_previous, previous_pair,
};
use reeve_engine::pages::Stop;

/// Main revisions with events that one response may hold (etcd's number).
const REVISIONS_AT_ONCE: usize = 1000;

/// Changes that are looked at before others have their turn.
const SLICE: u32 = 256;

/// Events are handed over at this size, in bytes, at the next end of a revision.
const BYTES_AT_ONCE: usize = 1 << 20;

/// Why a watch ends whose past is damaged (etcd's text for a store that is).
const CORRUPT: &str = "etcdserver: corrupt cluster";

/// Lets the lagging watchers whose clients take more catch up, for one bounded scan. False if there is none.
pub(super) async fn catch_up(hub: &Hub) -> bool {
    let Some(mut catch_up) = hub.lagging() else {
        return false;
    };
    catch_up.from = catch_up.from.max(0);
    if catch_up.from > catch_up.to {
        hub.caught_up(&catch_up, Deliveries::default(), catch_up.to + 1);
        return true;
    }
    scan(hub, &catch_up).await
}

/// What one scan gathers, ended early by its size.
async fn scan(hub: &Hub, catch_up: &CatchUp) -> bool {
    let everything = Interval::From(&[]);
    let mut from = catch_up.from;
    while from <= catch_up.to {
        // One revision window at a time, so that a huge answer is handed over in parts.
        let mut deliveries = Deliveries::default();
        let mut task = WatchScan::new(everything, from, catch_up.to, REVISIONS_AT_ONCE);
        let summary = loop {
            match step(hub, catch_up, &mut task, &mut deliveries) {
                Ok(Step::Done(summary)) => break summary,
                Ok(Step::Yield) => glommio::yield_if_needed().await,
                Ok(Step::Refused(Refusal::Compacted { compacted })) => {
                    hub.overtaken(catch_up, compacted);
                    return true;
                }
                Ok(Step::Refused(_)) => return false,
                Err(stop) => {
                    // Nothing of the missing pages' step was delivered twice: the window begins anew.
                    match hub.gate().resolve(stop).await {
                        Ok(()) => {}
                        Err(Failure::Damaged(page)) => {
                            crate::error!("past events cannot be read", "error" => page.to_string());
                            hub.unreadable(catch_up, CORRUPT);
                            return true;
                        }
                        Err(_) => return false,
                    }
                    deliveries = Deliveries::default();
                    task = WatchScan::new(everything, from, catch_up.to, REVISIONS_AT_ONCE);
                }
            }
        };
        let full = deliveries.bytes() >= BYTES_AT_ONCE;
        hub.caught_up(catch_up, deliveries, summary.next);
        if full || summary.next <= from {
            return true;
        }
        from = summary.next;
    }
    true
}

fn step(
    hub: &Hub,
    catch_up: &CatchUp,
    task: &mut WatchScan<'_>,
    deliveries: &mut Deliveries,
) -> Result<Step<ScanSummary>, Stop> {
    let store = hub.gate().store();
    let view = store.view();
    let state = State::load(&view)?;
    let mut failure = None;
    let step = task.step(&view, &mut Budget::new(SLICE), &mut |event: &Event<'_>| {
        let mut previous = None;
        hub.concerned(catch_up, event, |number, options| {
            if !options.prev_kv {
                return deliveries.push(number, event, &[]);
            }
            let bytes = previous.get_or_insert_with(|| {
                let mut bytes = Vec::new();
                match previous_pair(&view, &state, event) {
                    Ok(Some(pair)) => append_previous(&mut bytes, &pair),
                    Ok(None) => {}
                    Err(stop) => failure = Some(stop),
                }
                bytes
            });
            deliveries.push(number, event, bytes);
        });
    })?;
    match failure {
        None => Ok(step),
        Some(stop) => Err(stop),
    }
}
