//! Bringing pages in without stalling a reactor.
//!
//! A page that is not in memory costs a disk read. Reactors leave it to a helper thread and go on with other work.

use atomic_waker::AtomicWaker;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use reeve_engine::pages::{Damage, PageFault};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

/// Requests that may wait for the helper.
const QUEUE: usize = 4096;

struct Request {
    faults: Vec<PageFault>,
    reply: Arc<Reply>,
}

#[derive(Default)]
struct Reply {
    outcome: Mutex<Option<Result<(), PagerError>>>,
    waker: AtomicWaker,
}

impl Reply {
    fn give(&self, outcome: Result<(), PagerError>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.waker.wake();
    }
}

/// Brings pages into memory; it may block.
pub(crate) type BringIn = dyn Fn(&[PageFault]) -> Result<(), Damage> + Send + Sync;

/// Why pages could not be brought in.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum PagerError {
    /// A page is damaged.
    #[error("{0}")]
    Damage(Arc<Damage>),
    /// Too many requests wait already.
    #[error("too many reads wait for the disk")]
    Busy,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
}

/// The way to the helper threads. Cloned to every reactor.
#[derive(Clone, Debug)]
pub(crate) struct Pager {
    requests: Sender<Request>,
}

impl Pager {
    /// Starts `threads` helpers. They end when the last clone of the pager is dropped.
    pub(crate) fn start(bring_in: &Arc<BringIn>, threads: usize) -> std::io::Result<Pager> {
        let (requests, queue) = bounded(QUEUE);
        for _ in 0..threads {
            let (bring_in, queue) = (Arc::clone(bring_in), queue.clone());
            std::thread::Builder::new()
                .name("pages".to_owned())
                .spawn(move || serve(&*bring_in, &queue))?;
        }
        Ok(Pager { requests })
    }

    /// Has the pages brought into memory and verified.
    pub(crate) async fn bring_in(&self, faults: Vec<PageFault>) -> Result<(), PagerError> {
        let reply = Arc::new(Reply::default());
        let request = Request {
            faults,
            reply: Arc::clone(&reply),
        };
        match self.requests.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(PagerError::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(PagerError::Stopped),
        }
        poll_fn(|context| {
            reply.waker.register(context.waker());
            let mut outcome = reply.outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn serve(bring_in: &BringIn, queue: &Receiver<Request>) {
    while let Ok(request) = queue.recv() {
        let outcome = bring_in(&request.faults);
        request
            .reply
            .give(outcome.map_err(|damage| PagerError::Damage(Arc::new(damage))));
    }
}
