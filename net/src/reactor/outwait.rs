//! Waiting for what may take any time, before the reactors run.

use super::{EXECUTOR_IO_BYTES, stop_signal};
use glommio::{LocalExecutorBuilder, Placement};
use std::time::Duration;

/// How often the work is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// Does work on a thread of its own and waits for its end: the `Ok` of the answer. A stop signal that comes before is its
/// `Err`; the work is then left to itself, and the process should end. Stop signals have to be blocked
/// ([`block_stop_signals`](super::block_stop_signals)).
///
/// # Errors
/// There can be no thread, or no executor: for the operator.
pub fn outwait<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Result<T, i32>, String> {
    super::probe().map_err(|error| error.to_string())?;
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(EXECUTOR_IO_BYTES)
        .make()
        .map_err(|error| error.to_string())?;
    let working = std::thread::Builder::new().name("bootstrap".to_owned());
    let working = working.spawn(work).map_err(|error| error.to_string())?;
    executor.run(async move {
        let done = async {
            while !working.is_finished() {
                glommio::timer::sleep(PAUSE).await;
            }
            None
        };
        let stopped = async { Some(stop_signal().await) };
        match futures_lite::future::or(done, stopped).await {
            Some(Ok(signal)) => Ok(Err(signal)),
            Some(Err(error)) => Err(format!("cannot wait for signals: {error}")),
            None => match working.join() {
                Ok(done) => Ok(Ok(done)),
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
    })
}
