//! What the process may use of the machine.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of cores the process may use, at least 1: the smaller of its CPU affinity and the quota (`cpu.max`) of its
/// control group, rounded down.
pub fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Raises the soft limit of open file descriptors to the hard one and answers the limit then in force.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Refused only where a security policy forbids it; the old limit then stays in force.
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() {
        raised
    } else {
        limit
    };
    limit.current.unwrap_or(u64::MAX)
}
