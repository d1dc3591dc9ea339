//! Stopping on SIGTERM and SIGINT.

use glommio::signal::{self, Signals};
use std::io;

const STOP: [i32; 2] = [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT];

/// Blocks the stop signals on this thread and all that it starts later, so that [`stop_signal`] sees them. Call it
/// before any other thread exists.
pub fn block_stop_signals() -> io::Result<()> {
    signal::block(&STOP).map_err(io::Error::from)
}

/// Waits for SIGTERM or SIGINT and answers its number. On one reactor only.
pub async fn stop_signal() -> io::Result<i32> {
    let signals = Signals::new(&STOP).map_err(io::Error::from)?;
    signals.recv().await.map_err(io::Error::from)
}

/// Ends the process as `signal` would have, after a graceful stop: a parent sees death by that signal. As process 1 (in
/// a container), which default signal actions do not touch, it exits with 0, as etcd does.
pub fn end_by_signal(signal: i32) -> ! {
    if std::process::id() != 1 {
        // Resets the disposition, unblocks and raises. It answers only if it failed.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
        std::process::exit(128 + signal);
    }
    std::process::exit(0)
}
