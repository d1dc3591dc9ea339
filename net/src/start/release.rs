//! What this process says that it reads. Members of neighbouring releases work together, and no member writes what the
//! oldest of them cannot read.

use reeve_engine::command::COMMAND_FORMAT;

/// The highest format of commands that this process reads.
///
/// A build with debug assertions takes another number from `REEVE_COMMAND_FORMAT`: tests run it beside itself as the
/// release after this one. A release build does not look.
pub(super) fn command_format() -> u64 {
    #[cfg(debug_assertions)]
    if let Some(format) = std::env::var("REEVE_COMMAND_FORMAT")
        .ok()
        .and_then(|text| text.parse().ok())
    {
        return format;
    }
    COMMAND_FORMAT
}
