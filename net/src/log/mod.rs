//! Log lines in etcd's format on stderr.
//!
//! [`info!`](crate::info) and its siblings format a line where they are called and put it into a bounded queue; a thread
//! of its own writes. So a reactor never waits for a terminal or a pipe. Lines that find the queue full are dropped and
//! counted, and the count is logged once there is room.
//!
//! ```
//! reeve_net::info!("saved snapshot", "path" => "a.db", "took" => std::time::Duration::from_millis(12));
//! ```

mod line;
mod timestamp;
mod value;
mod writer;

pub use line::{Format, Level};
pub use value::{LogValue, Shown};
pub use writer::{Options, flush, init, write};

/// Logs at a [`Level`]: a message, then fields as `"name" => value`.
#[macro_export]
macro_rules! log {
    ($level:expr, $message:expr $(, $name:literal => $value:expr)* $(,)?) => {
        $crate::log::write(
            $level,
            concat!(file!(), ":", line!()),
            &$message,
            &[$(($name, &$value as &dyn $crate::log::LogValue)),*],
        )
    };
}

/// Logs what only helps to find errors.
#[macro_export]
macro_rules! debug {
    ($($line:tt)*) => { $crate::log!($crate::log::Level::Debug, $($line)*) };
}

/// Logs what an operator may want to know.
#[macro_export]
macro_rules! info {
    ($($line:tt)*) => { $crate::log!($crate::log::Level::Info, $($line)*) };
}

/// Logs what an operator should look at.
#[macro_export]
macro_rules! warn {
    ($($line:tt)*) => { $crate::log!($crate::log::Level::Warn, $($line)*) };
}

/// Logs a failure.
#[macro_export]
macro_rules! error {
    ($($line:tt)*) => { $crate::log!($crate::log::Level::Error, $($line)*) };
}

/// Logs why the process ends. Ending it is left to the caller, after [`flush`].
#[macro_export]
macro_rules! fatal {
    ($($line:tt)*) => { $crate::log!($crate::log::Level::Fatal, $($line)*) };
}

#[cfg(test)]
mod log_test;
