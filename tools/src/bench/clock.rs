//! Time as the generator counts it: nanoseconds since the process fixed its epoch.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Nanoseconds since the epoch of this process. A plain number: it is stored once per request and
/// travels in the values of watched keys.
pub type Nanos = u64;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;

static EPOCH: OnceLock<Instant> = OnceLock::new();

fn epoch() -> Instant {
    *EPOCH.get_or_init(Instant::now)
}

/// Now.
#[must_use]
pub fn now() -> Nanos {
    epoch().elapsed().as_nanos() as Nanos
}

/// `duration` in nanoseconds.
#[must_use]
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads `500ms`, `10s`, `2m`, `1h`, `250us`; a bare number is seconds.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "{unit:?} is not a unit of time: use ns, us, ms, s, m or h"
            ));
        }
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a duration like 10s"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("{text:?} is out of range"))
}
