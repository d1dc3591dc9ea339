//! Maintenance calls, made beside a load.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use reeve_tools::bench::messages::requests;
use reeve_tools::bench::method::Method;

use crate::error::LabResult;
use crate::server::Server;

/// Reads one snapshot through to its end; gives its bytes.
pub(crate) fn snapshot(server: &Server) -> LabResult<u64> {
    let mut bytes = 0;
    server.client()?.call_stream(
        Method::Snapshot,
        |_| {},
        |chunk| bytes += chunk.len() as u64,
    )?;
    Ok(bytes)
}

/// Compacts at the current revision, and waits for the space to be free.
pub(crate) fn compact(server: &Server) -> LabResult<()> {
    let mut client = server.client()?;
    let (_, revision) = client.count(b"x", b"")?;
    client.call(Method::Compact, |out| {
        requests::compact(out, revision, true)
    })?;
    Ok(())
}

/// Defragments.
pub(crate) fn defragment(server: &Server) -> LabResult<()> {
    server.client()?.call(Method::Defragment, |_| {})?;
    Ok(())
}

/// Repeats `work` on a thread of its own while `load` runs; gives the load's answer and how often
/// the work was done.
pub(crate) fn beside<T>(
    mut work: impl FnMut() -> LabResult<()> + Send,
    load: impl FnOnce() -> LabResult<T>,
) -> LabResult<(T, u64)> {
    let over = AtomicBool::new(false);
    let times = AtomicU64::new(0);
    let (loaded, worked) = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                work()?;
                times.fetch_add(1, Ordering::Relaxed);
            }
            LabResult::Ok(())
        });
        let loaded = load();
        over.store(true, Ordering::Relaxed);
        (loaded, worker.join())
    });
    if let Ok(worked) = worked {
        worked?;
    }
    Ok((loaded?, times.load(Ordering::Relaxed)))
}
