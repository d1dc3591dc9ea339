//! Reading past events from the store for watchers that lag.

use super::deliveries::Deliveries;
use super::hub::{CatchUp, Hub};
use super::index::WatcherNumber;
use crate::sequencer::Failure;
use reeve_engine::btree::ReadView;
use reeve_engine::command::{Interval, Refusal};
use reeve_engine::mvcc::{
    Budget, Event, Observer, ScanSummary, State, Step, WatchScan, append_previous, previous_pair,
};
use reeve_engine::pages::Stop;
use std::ops::ControlFlow;

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

/// Scans until enough has been found or the end is reached, and hands over what was found. What the watchers' clients have not
/// taken yet is looked at again before the next scan.
async fn scan(hub: &Hub, catch_up: &CatchUp) -> bool {
    let everything = Interval::From(&[]);
    let mut gathering = Gathering::new(hub, catch_up);
    let mut task = WatchScan::new(everything, catch_up.from, catch_up.to, REVISIONS_AT_ONCE);
    let summary = loop {
        match gathering.step(&mut task) {
            Ok(Step::Done(summary)) => break summary,
            Ok(Step::Yield) => glommio::yield_if_needed().await,
            Ok(Step::Refused(Refusal::Compacted { compacted })) => {
                hub.overtaken(catch_up, compacted);
                return true;
            }
            Ok(Step::Refused(_)) => return false,
            // The scan goes on with the event for which pages were missing: what was found before stays, because in a
            // large store the pages of all of it never are in memory at once.
            Err(stop) => match hub.gate().resolve(stop).await {
                Ok(()) => {}
                Err(Failure::Damaged(page)) => {
                    crate::error!("past events cannot be read", "error" => page.to_string());
                    hub.unreadable(catch_up, CORRUPT);
                    return true;
                }
                Err(_) => return false,
            },
        }
    };
    hub.caught_up(catch_up, gathering.deliveries, summary.next);
    true
}

/// What one scan finds for a group of watchers.
struct Gathering<'h> {
    hub: &'h Hub,
    catch_up: &'h CatchUp,
    deliveries: Deliveries,
    /// The watchers that the present event concerns, and whether they want the pair before it.
    concerned: Vec<(WatcherNumber, bool)>,
}

impl<'h> Gathering<'h> {
    fn new(hub: &'h Hub, catch_up: &'h CatchUp) -> Self {
        Gathering {
            hub,
            catch_up,
            deliveries: Deliveries::default(),
            concerned: Vec::new(),
        }
    }

    /// Goes on for a slice.
    fn step(&mut self, task: &mut WatchScan<'_>) -> Result<Step<ScanSummary>, Stop> {
        let store = self.hub.gate().store();
        let view = store.view();
        let state = State::load(&view)?;
        let mut observer = Looking {
            gathering: self,
            view: &view,
            state: &state,
        };
        task.step_for(&view, &mut Budget::new(SLICE), &mut observer)
    }
}

/// A [`Gathering`] with what it looks at in one slice.
struct Looking<'l, 'h, 'v> {
    gathering: &'l mut Gathering<'h>,
    view: &'l ReadView<'v>,
    state: &'l State,
}

impl Observer for Looking<'_, '_, '_> {
    fn wants(&mut self, key: &[u8]) -> bool {
        let Gathering { hub, catch_up, .. } = self.gathering;
        hub.is_watched(catch_up, key)
    }

    fn take(&mut self, event: &Event<'_>) -> Result<ControlFlow<()>, Stop> {
        let Gathering {
            hub,
            catch_up,
            deliveries,
            concerned,
        } = self.gathering;
        concerned.clear();
        hub.concerned(catch_up, event, |number, options| {
            concerned.push((number, options.prev_kv));
        });
        // Read before anybody has the event: if it is missing the event comes again.
        let mut previous = Vec::new();
        if concerned.iter().any(|(_, wants_previous)| *wants_previous)
            && let Some(pair) = previous_pair(self.view, self.state, event)?
        {
            append_previous(&mut previous, &pair);
        }
        for &(number, wants_previous) in &*concerned {
            let previous = if wants_previous { &previous[..] } else { &[] };
            deliveries.push(number, event, previous);
        }
        Ok(match deliveries.bytes() >= BYTES_AT_ONCE {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }
}
