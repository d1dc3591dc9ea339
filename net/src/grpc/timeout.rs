//! The `grpc-timeout` header.

use std::time::Duration;

/// Parses `grpc-timeout`: up to 8 digits and a unit (H, M, S, m, u, n).
///
/// The error is the text that grpc-go reports after `malformed grpc-timeout: `.
pub(crate) fn parse_timeout(value: &[u8]) -> Result<Duration, String> {
    let shown = || format!("{:?}", String::from_utf8_lossy(value));
    let Some((&unit, digits)) = value.split_last().filter(|(_, digits)| !digits.is_empty()) else {
        return Err(format!(
            "transport: timeout string is too short: {}",
            shown()
        ));
    };
    if digits.len() > 8 {
        return Err(format!(
            "transport: timeout string is too long: {}",
            shown()
        ));
    }
    let nanoseconds: u64 = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => {
            return Err(format!(
                "transport: timeout unit is not recognized: {}",
                shown()
            ));
        }
    };
    let mut amount = 0_u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            let digits = String::from_utf8_lossy(digits);
            return Err(format!(
                "strconv.ParseUint: parsing {digits:?}: invalid syntax"
            ));
        }
        amount = amount * 10 + u64::from(digit - b'0');
    }
    // 99999999 hours exceed 64 bits of nanoseconds; clamped as grpc-go does.
    Ok(Duration::from_nanos(
        amount.saturating_mul(nanoseconds).min(i64::MAX as u64),
    ))
}
