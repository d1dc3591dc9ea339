//! Looking up the names of hosts. That may take long while a resolver does not answer, and cannot be given up; so each name
//! has a thread of its own meanwhile, and nothing else waits behind it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// With so many names being looked up, no more are for the sake of strangers.
const FOR_STRANGERS: usize = 16;

/// Finds the addresses of a name, with port 0. It may block.
type Resolver = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// For whom a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sake {
    /// Somebody of whom this member has known before: there are few of them.
    Member,
    /// Anybody else.
    Stranger,
}

/// See the module. Clones share what is under way: a name is looked up once at a time, however many ask for it.
#[derive(Clone)]
pub(crate) struct Names {
    resolver: Arc<Resolver>,
    under_way: Arc<Mutex<BTreeMap<String, Arc<Lookup>>>>,
}

/// A name that is being looked up.
#[derive(Default)]
struct Lookup(Mutex<State>);

#[derive(Default)]
struct State {
    /// What came of it. Errors cannot be copied.
    found: Option<Result<Vec<SocketAddr>, (io::ErrorKind, String)>>,
    waiting: Vec<Waker>,
}

impl Default for Names {
    /// Asks the system.
    fn default() -> Self {
        Names::with(|host| Ok((host, 0_u16).to_socket_addrs()?.collect()))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = guard(&self.under_way).keys().cloned().collect();
        to.debug_struct("Names").field("under_way", &names).finish()
    }
}

impl Names {
    /// Asks `resolver`.
    pub(crate) fn with(
        resolver: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Names {
            resolver: Arc::new(resolver),
            under_way: Arc::default(),
        }
    }

    /// The addresses of a host, with port 0. Who does not want to wait any longer drops this; who asks again then waits for
    /// the same answer.
    ///
    /// # Errors
    /// What the resolver says; or there is no thread for it, or too many names of strangers wait already.
    pub(crate) async fn look_up(&self, host: &str, sake: Sake) -> io::Result<Vec<SocketAddr>> {
        let lookup = self.join(host, sake)?;
        poll_fn(|context| lookup.poll(context)).await
    }

    fn join(&self, host: &str, sake: Sake) -> io::Result<Arc<Lookup>> {
        let mut under_way = guard(&self.under_way);
        if let Some(lookup) = under_way.get(host) {
            return Ok(Arc::clone(lookup));
        }
        if sake == Sake::Stranger && under_way.len() >= FOR_STRANGERS {
            return Err(io::Error::other("too many names are being looked up"));
        }
        let lookup = Arc::new(Lookup::default());
        let (names, name, finished) = (self.clone(), host.to_owned(), Arc::clone(&lookup));
        std::thread::Builder::new()
            .name("names".to_owned())
            .spawn(move || {
                let found = (names.resolver)(&name);
                // From here on whoever asks begins anew. The entry is there: it was made under this lock.
                guard(&names.under_way).remove(&name);
                finished.finish(found);
            })?;
        under_way.insert(host.to_owned(), Arc::clone(&lookup));
        Ok(lookup)
    }
}

impl Lookup {
    fn poll(&self, context: &Context<'_>) -> Poll<io::Result<Vec<SocketAddr>>> {
        let mut state = guard(&self.0);
        if let Some(found) = &state.found {
            let found = found.clone();
            return Poll::Ready(found.map_err(|(kind, text)| io::Error::new(kind, text)));
        }
        let waker = context.waker();
        if !state.waiting.iter().any(|known| known.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
        Poll::Pending
    }

    fn finish(&self, found: io::Result<Vec<SocketAddr>>) {
        let waiting = {
            let mut state = guard(&self.0);
            state.found = Some(found.map_err(|error| (error.kind(), error.to_string())));
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// What a lock guards. It is never left half changed.
fn guard<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, or, poll_once, zip};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    fn found() -> Vec<SocketAddr> {
        vec![([10, 0, 0, 1], 0).into()]
    }

    /// Names of which those with "slow" in them are answered only when the sender says so; and how often was asked.
    fn slow_names() -> (Names, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (answer, answers) = mpsc::channel::<()>();
        let (answers, asked) = (Mutex::new(answers), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let names = Names::with(move |host| {
            count.fetch_add(1, Ordering::SeqCst);
            if host.contains("slow") {
                // The end of the test is an answer as well.
                let _ = guard(&answers).recv();
            }
            match host.contains("bad") {
                true => Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
                false => Ok(found()),
            }
        });
        (names, answer, asked)
    }

    #[test]
    fn a_name_is_looked_up_once_however_many_ask() {
        let (names, answer, asked) = slow_names();
        block_on(async {
            for _ in 0..10 {
                let impatient = names.look_up("slow.example", Sake::Member);
                assert!(poll_once(impatient).await.is_none());
            }
            let both = zip(
                names.look_up("slow.example", Sake::Member),
                names.look_up("slow.example", Sake::Stranger),
            );
            let answered = async {
                let other = names.look_up("other.example", Sake::Member).await;
                assert_eq!(other.unwrap(), found(), "it waits for no other name");
                answer.send(()).unwrap();
                std::future::pending().await
            };
            let (one, other) = or(both, answered).await;
            assert_eq!((one.unwrap(), other.unwrap()), (found(), found()));
        });
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert!(guard(&names.under_way).is_empty());
    }

    #[test]
    fn who_asks_later_gets_a_new_answer() {
        let (names, _answer, asked) = slow_names();
        for _ in 0..3 {
            let error = block_on(names.look_up("bad.example", Sake::Member)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert_eq!(error.to_string(), "no such host");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn strangers_cannot_have_any_number_of_names_looked_up() {
        let (names, _answer, _) = slow_names();
        block_on(async {
            let ask = |number: usize, sake| {
                let (names, host) = (names.clone(), format!("slow{number}.example"));
                async move { poll_once(names.look_up(&host, sake)).await }
            };
            for number in 0..FOR_STRANGERS {
                assert!(ask(number, Sake::Stranger).await.is_none());
            }
            let refused = ask(FOR_STRANGERS, Sake::Stranger).await;
            assert!(refused.is_some_and(|answer| answer.is_err()));
            assert!(ask(FOR_STRANGERS, Sake::Member).await.is_none());
            assert!(ask(0, Sake::Stranger).await.is_none(), "it is under way");
        });
    }
}
