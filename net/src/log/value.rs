//! Values of fields.

use crate::config::format_duration;
use std::{fmt, path::Path, path::PathBuf, time::Duration};

/// Something that can stand in a field, as JSON.
pub trait LogValue {
    /// Appends the value as JSON.
    fn push_json(&self, into: &mut String);
}

/// Appends `text` as a JSON string.
pub(super) fn push_string(into: &mut String, text: &str) {
    use fmt::Write as _;
    into.push('"');
    for letter in text.chars() {
        match letter {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            control if (control as u32) < 0x20 => {
                // Writing to a string cannot fail.
                let _ = write!(into, "\\u{:04x}", control as u32);
            }
            other => into.push(other),
        }
    }
    into.push('"');
}

/// Shows anything that can be displayed, as a string: errors, addresses.
pub struct Shown<T>(pub T);

impl<T: fmt::Display> LogValue for Shown<T> {
    fn push_json(&self, into: &mut String) {
        push_string(into, &self.0.to_string());
    }
}

impl LogValue for str {
    fn push_json(&self, into: &mut String) {
        push_string(into, self);
    }
}

impl LogValue for String {
    fn push_json(&self, into: &mut String) {
        push_string(into, self);
    }
}

impl LogValue for Path {
    fn push_json(&self, into: &mut String) {
        push_string(into, &self.to_string_lossy());
    }
}

impl LogValue for PathBuf {
    fn push_json(&self, into: &mut String) {
        self.as_path().push_json(into);
    }
}

impl LogValue for Duration {
    /// As Go prints durations: `1.5s`, `100ms`.
    fn push_json(&self, into: &mut String) {
        push_string(into, &format_duration(*self));
    }
}

impl<T: LogValue + ?Sized> LogValue for &T {
    fn push_json(&self, into: &mut String) {
        (**self).push_json(into);
    }
}

impl<T: LogValue> LogValue for [T] {
    fn push_json(&self, into: &mut String) {
        into.push('[');
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                into.push(',');
            }
            value.push_json(into);
        }
        into.push(']');
    }
}

impl<T: LogValue> LogValue for Vec<T> {
    fn push_json(&self, into: &mut String) {
        self.as_slice().push_json(into);
    }
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl LogValue for $type {
            fn push_json(&self, into: &mut String) {
                into.push_str(&self.to_string());
            }
        }
    )*};
}

plain!(bool, u8, u16, u32, u64, usize, i32, i64, isize);
