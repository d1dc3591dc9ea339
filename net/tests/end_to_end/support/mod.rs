//! What the tests of the running server share: programs, processes, clients and random numbers.

pub mod etcdctl;
pub mod grpc;
pub mod honest;
pub mod http2;

pub mod ports;
pub mod process;
pub mod programs;
pub mod random;
pub mod server;
pub mod slow_disk;
pub mod small_disk;
pub mod turn;

use std::io::Write as _;

/// Writes a line that the test runner does not swallow when the test passes: what was skipped, and which seed ran.
pub fn notice(text: &str) {
    let _ = std::io::stderr().write_all(format!("note: {text}\n").as_bytes());
}

/// A number that an environment variable may set, for example the rounds of a test.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|error| panic!("{name}={text}: {error}")),
        Err(_) => default,
    }
}

/// Runs clients on this thread.
pub fn run<T>(clients: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(clients)
}
