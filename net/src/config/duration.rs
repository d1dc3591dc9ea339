//! Durations as Go writes them.

use std::time::Duration;

/// Units from the largest to the smallest, in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
    ("s", 1_000_000_000),
];

/// Parses `1h30m`, `1.5s`, `100ms` or `0`. Negative durations are refused: no flag has a use for them. The error is the
/// text of Go's flag package.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let failed = || "parse error".to_owned();
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(failed());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| letter != '.' && !letter.is_ascii_digit());
        let (number, after) = rest.split_at(end.ok_or_else(failed)?);
        let found = UNITS
            .iter()
            .find_map(|(unit, size)| after.strip_prefix(unit).map(|remaining| (*size, remaining)));
        let (size, remaining) = found.ok_or_else(failed)?;
        let part = scale(number, size).ok_or_else(failed)?;
        total = total
            .checked_add(part)
            .filter(|sum| *sum <= i64::MAX as u64)
            .ok_or_else(failed)?;
        rest = remaining;
    }
    Ok(Duration::from_nanos(total))
}

/// `number`, which may have a fraction, times `size`.
fn scale(number: &str, size: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut part = 0_u128;
    let mut scale = u128::from(size);
    for digit in fraction.bytes().take(18) {
        part = part * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    // The fraction, as a part of the unit: part * size / 10^digits.
    let divisor = scale / u128::from(size);
    let part = part * u128::from(size) / divisor;
    whole
        .checked_mul(size)?
        .checked_add(u64::try_from(part).ok()?)
}

/// Writes a duration as Go's `time.Duration` prints it.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (size, unit) = match nanos {
            ..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{}{unit}", decimal(nanos, size));
    }
    let seconds = nanos / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = decimal(
        nanos - (hours * 60 + minutes) * 60_000_000_000,
        1_000_000_000,
    );
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// `value / size` without trailing zeros.
fn decimal(value: u128, size: u128) -> String {
    let digits = size.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / size, value % size);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
