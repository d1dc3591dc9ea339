//! Bringing pages in without stalling a reactor.
//!
//! A page that is not in memory costs a disk read. Reactors leave it to a helper thread and go on with other work. What the
//! operating system holds already is only mapped and checked, which takes less time than handing it over: reactors do that
//! themselves, a few pages at a time.

use atomic_waker::AtomicWaker;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use reeve_engine::pages::{Damage, PageFault, PageSpace};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;

/// Requests that may wait for the helper.
const QUEUE: usize = 4096;

/// Faults that a reactor looks after itself if it need not wait for the disk; each takes a few microseconds.
const FAULTS_AT_ONCE: usize = 8;

struct Request {
    space: Arc<PageSpace>,
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
    space: Arc<PageSpace>,
    /// Damage that somebody has met on this member's disk.
    damage: Arc<OnceLock<String>>,
}

impl From<Damage> for PagerError {
    fn from(damage: Damage) -> Self {
        PagerError::Damage(Arc::new(damage))
    }
}

impl Pager {
    /// Starts `threads` helpers for the pages of `space`. They end when the last clone of the pager is dropped.
    pub(crate) fn start(space: &Arc<PageSpace>, threads: usize) -> std::io::Result<Pager> {
        let (requests, queue) = bounded(QUEUE);
        for _ in 0..threads {
            let queue = queue.clone();
            std::thread::Builder::new()
                .name("pages".to_owned())
                .spawn(move || serve(&queue))?;
        }
        let space = Arc::clone(space);
        let damage = Arc::default();
        Ok(Pager {
            requests,
            space,
            damage,
        })
    }

    /// The same helpers, for the pages of another store.
    pub(crate) fn for_space(&self, space: &Arc<PageSpace>) -> Pager {
        Pager {
            requests: self.requests.clone(),
            space: Arc::clone(space),
            damage: Arc::clone(&self.damage),
        }
    }

    /// Damage that a read has met: the member must not go on.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// Tells that a read has met damage.
    pub(crate) fn note_damage(&self, what: &str) {
        self.damage.get_or_init(|| what.to_owned());
    }

    /// Has the pages brought into memory and verified.
    pub(crate) async fn bring_in(&self, faults: Vec<PageFault>) -> Result<(), PagerError> {
        if faults.len() <= FAULTS_AT_ONCE && self.space.bring_in_cached(&faults)? {
            return Ok(());
        }
        let reply = Arc::new(Reply::default());
        let request = Request {
            space: Arc::clone(&self.space),
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

fn serve(queue: &Receiver<Request>) {
    while let Ok(request) = queue.recv() {
        let outcome = request.space.bring_in(&request.faults);
        request.reply.give(outcome.map_err(PagerError::from));
    }
}
