//! The queue of lines and the thread that writes them.

use super::{
    line::{self, Format, Level},
    value::LogValue,
};
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::{
    io::Write as _,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// Lines that may wait for the writer.
const QUEUE_LINES: usize = 8192;

/// How long [`flush`] waits for a writer that is stuck.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Lines below this are left out.
    pub level: Level,
    /// How lines look.
    pub format: Format,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            level: Level::Info,
            format: Format::Json,
        }
    }
}

enum Item {
    Line(String),
    /// The writer answers once everything before is written.
    Flush(Sender<()>),
}

struct Logger {
    options: Options,
    queue: Sender<Item>,
    dropped: &'static AtomicU64,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Sets the options of the process and starts the writer. Once only; later calls change nothing. Before it, lines at
/// [`Level::Info`] and above are written directly.
pub fn init(options: Options) -> std::io::Result<()> {
    if LOGGER.get().is_some() {
        return Ok(());
    }
    let (queue, lines) = bounded(QUEUE_LINES);
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_lines(&lines, options.format))?;
    // A second caller at the same time loses; its writer ends with its queue.
    let _ = LOGGER.set(Logger {
        options,
        queue,
        dropped: &DROPPED,
    });
    Ok(())
}

/// Logs one line; see the macros.
pub fn write(level: Level, caller: &str, message: &str, fields: &[(&str, &dyn LogValue)]) {
    let Some(logger) = LOGGER.get() else {
        if level >= Level::Info {
            let now = SystemTime::now();
            write_out(line::format(Format::Json, level, now, caller, message, fields).as_bytes());
        }
        return;
    };
    if level < logger.options.level {
        return;
    }
    let format = logger.options.format;
    let line = line::format(format, level, SystemTime::now(), caller, message, fields);
    if let Err(TrySendError::Full(_)) = logger.queue.try_send(Item::Line(line)) {
        logger.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until everything logged so far is written, at most two seconds. Before the process ends; never on a reactor
/// that goes on.
pub fn flush() {
    let Some(logger) = LOGGER.get() else { return };
    let (done, written) = bounded(1);
    if logger
        .queue
        .send_timeout(Item::Flush(done), FLUSH_PATIENCE)
        .is_ok()
    {
        // A writer that is stuck must not keep the process from ending.
        let _ = written.recv_timeout(FLUSH_PATIENCE);
    }
}

fn write_lines(lines: &Receiver<Item>, format: Format) {
    let mut batch = String::new();
    while let Ok(first) = lines.recv() {
        let mut flushed = Vec::new();
        for item in std::iter::once(first).chain(lines.try_iter().take(256)) {
            match item {
                Item::Line(line) => batch.push_str(&line),
                Item::Flush(done) => flushed.push(done),
            }
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let caller = concat!(file!(), ":", line!());
            let message = "log lines were dropped, as stderr was too slow";
            let now = SystemTime::now();
            let fields: [(&str, &dyn LogValue); 1] = [("lines", &dropped)];
            batch.push_str(&line::format(
                format,
                Level::Warn,
                now,
                caller,
                message,
                &fields,
            ));
        }
        write_out(batch.as_bytes());
        batch.clear();
        for done in flushed {
            // Whoever waited may have given up.
            let _ = done.send(());
        }
    }
}

fn write_out(bytes: &[u8]) {
    // Without stderr there is nobody to tell.
    let _ = std::io::stderr().write_all(bytes);
}
