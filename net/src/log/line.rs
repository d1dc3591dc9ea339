//! One line: its level, its format.

use super::{
    timestamp,
    value::{self, LogValue},
};
use std::{str::FromStr, time::SystemTime};

/// How much a line matters. etcd's levels; `panic` and `fatal` say that the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For finding errors.
    Debug,
    /// For the record.
    Info,
    /// An operator should look.
    Warn,
    /// A failure.
    Error,
    /// A broken invariant ends the process.
    Panic,
    /// A failure ends the process.
    Fatal,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Panic => "panic",
            Level::Fatal => "fatal",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        Ok(match text {
            "debug" | "DEBUG" => Level::Debug,
            "info" | "INFO" | "" => Level::Info,
            "warn" | "WARN" => Level::Warn,
            "error" | "ERROR" => Level::Error,
            "dpanic" | "DPANIC" | "panic" | "PANIC" => Level::Panic,
            "fatal" | "FATAL" => Level::Fatal,
            other => return Err(format!("unrecognized level: {other:?}")),
        })
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Json,
    /// Columns for people.
    Console,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "json" => Ok(Format::Json),
            "console" => Ok(Format::Console),
            other => Err(format!(
                "unknown log format: {other:?}, supported values json, console"
            )),
        }
    }
}

/// Formats one line, with its end.
pub(super) fn format(
    format: Format,
    level: Level,
    time: SystemTime,
    caller: &str,
    message: &str,
    fields: &[(&str, &dyn LogValue)],
) -> String {
    let mut line = String::with_capacity(192);
    let caller = short(caller);
    match format {
        Format::Json => {
            line.push_str("{\"level\":\"");
            line.push_str(level.name());
            line.push_str("\",\"ts\":\"");
            timestamp::push(&mut line, time);
            line.push_str("\",\"caller\":");
            value::push_string(&mut line, caller);
            line.push_str(",\"msg\":");
            value::push_string(&mut line, message);
            for field in fields {
                line.push(',');
                push_field(&mut line, field);
            }
            line.push('}');
        }
        Format::Console => {
            timestamp::push(&mut line, time);
            for column in [level.name(), caller, message] {
                line.push('\t');
                line.push_str(column);
            }
            if !fields.is_empty() {
                line.push_str("\t{");
                for (index, field) in fields.iter().enumerate() {
                    if index > 0 {
                        line.push_str(", ");
                    }
                    push_field(&mut line, field);
                }
                line.push('}');
            }
        }
    }
    line.push('\n');
    line
}

fn push_field(line: &mut String, (name, value): &(&str, &dyn LogValue)) {
    value::push_string(line, name);
    line.push(':');
    value.push_json(line);
}

/// The last folder and the file, as etcd's callers are.
fn short(caller: &str) -> &str {
    let mut slashes = caller.rmatch_indices('/').skip(1);
    slashes.next().map_or(caller, |(at, _)| &caller[at + 1..])
}
