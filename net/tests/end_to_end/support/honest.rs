//! A client that behaves: it puts and gets all the time while something else goes on, and measures what it notices of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::grpc::Client;
use super::run;

/// How long one call may take before the server counts as not serving.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the client saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub calls: u64,
    pub slowest: Duration,
}

/// The client at work.
pub struct Honest {
    stop: Arc<AtomicBool>,
    work: JoinHandle<Seen>,
}

impl Honest {
    /// Starts to put and get one key, over a connection of its own.
    pub fn start(endpoint: String) -> Honest {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let work = thread::spawn(move || run(work(&endpoint, &stopped)));
        Honest { stop, work }
    }

    /// Ends the work after one more call; a call that failed or took too long panics.
    pub fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.work.join().expect("the honest client is served")
    }
}

async fn work(endpoint: &str, stop: &AtomicBool) -> Seen {
    let mut client = Client::connect(endpoint).await;
    let mut seen = Seen::default();
    loop {
        let value = seen.calls.to_string();
        let start = Instant::now();
        let round = async {
            let revision = client
                .put(b"honest", value.as_bytes())
                .await
                .expect("a put");
            let answer = client.get(b"honest").await.expect("a get");
            assert_eq!(answer.kvs[0].value, value.as_bytes());
            assert_eq!(answer.kvs[0].mod_revision, revision);
        };
        tokio::time::timeout(PATIENCE, round)
            .await
            .unwrap_or_else(|_| panic!("no answer in {PATIENCE:?}"));
        seen.slowest = seen.slowest.max(start.elapsed());
        seen.calls += 1;
        if stop.load(Ordering::Relaxed) {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
