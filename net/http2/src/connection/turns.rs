//! Whose turn it is to send.
//!
//! A stream that cannot send all it has is queued. When connection window or output room appears, the streams at the
//! head of the queue get equal shares of it, reserved for the host's turn; what they do not use goes to the next. So a
//! huge response takes turns with small ones, and a stream that never had to wait is only held up while others do.

use super::{Connection, Event};
use crate::{
    limits::{OUTPUT_ROOM_BYTES, TURN_BYTES},
    streams::{Stream, StreamHandle, Streams},
};
use std::collections::VecDeque;

/// The queue of streams that wait, and what is reserved for those whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queue: VecDeque<StreamHandle>,
    /// Places in the queue whose streams have ended.
    vacated: usize,
    granted: Vec<StreamHandle>,
    reserved: usize,
    starved: usize,
    progress: u64,
}

impl Turns {
    /// The window of a stream has changed: if the stream waits for that alone, it may queue now.
    #[inline]
    pub(super) fn window_changed(&mut self, handle: StreamHandle, stream: &mut Stream) {
        if stream.starved && stream.send_window > 0 {
            stream.starved = false;
            self.starved -= 1;
            self.enqueue(handle, stream);
        }
    }

    fn enqueue(&mut self, handle: StreamHandle, stream: &mut Stream) {
        if !stream.queued {
            stream.queued = true;
            self.queue.push_back(handle);
        }
    }

    /// A stream has more than it may send.
    pub(super) fn wait(&mut self, handle: StreamHandle, stream: &mut Stream) {
        if stream.send_window > 0 {
            self.enqueue(handle, stream);
        } else if !stream.starved {
            stream.starved = true;
            self.starved += 1;
        }
    }

    /// A stream has ended and is no longer among `streams`. Its place in the queue is skipped when it comes up, or swept
    /// when such places are the majority.
    #[inline]
    pub(super) fn leave(&mut self, stream: &Stream, streams: &Streams) {
        self.reserved -= stream.grant;
        self.starved -= usize::from(stream.starved);
        self.vacated += usize::from(stream.queued);
        if self.vacated * 2 > self.queue.len() {
            self.queue.retain(|handle| streams.get(*handle).is_some());
            self.vacated = 0;
        }
    }

    /// What is reserved for a stream is settled: it has had its turn.
    #[inline]
    pub(super) fn release(&mut self, stream: &mut Stream) {
        self.reserved -= stream.grant;
        stream.grant = 0;
    }

    /// Whether no stream waits for its turn.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.queue.len() == self.vacated
    }

    pub(super) fn anyone_waits(&self) -> bool {
        self.starved > 0 || !self.is_idle()
    }

    /// Counts something that got on.
    #[inline]
    pub(super) fn note_progress(&mut self) {
        self.progress += 1;
    }

    pub(super) fn progress(&self) -> u64 {
        self.progress
    }
}

impl Connection {
    /// Says whose turn it is: appends [`Event::WindowOpened`] for streams that had to wait and may send now.
    ///
    /// To be called after output was written, and again after the events were handled, until it says nothing.
    #[inline]
    pub fn resume(&mut self, events: &mut Vec<Event>) {
        if !self.turns.granted.is_empty() {
            self.lapse();
        }
        if !self.turns.queue.is_empty() {
            self.distribute(events);
        }
    }

    /// Takes back what was granted and not used.
    fn lapse(&mut self) {
        for handle in self.turns.granted.drain(..) {
            if let Some(stream) = self.streams.get_mut(handle) {
                self.turns.reserved -= stream.grant;
                stream.grant = 0;
            }
        }
        assert_eq!(self.turns.reserved, 0, "nothing is reserved between turns");
    }

    /// Bytes that may be sent over all streams and are not reserved.
    #[inline]
    pub(super) fn free_bytes(&self) -> usize {
        let window = usize::try_from(self.send_window).unwrap_or_default();
        let room = OUTPUT_ROOM_BYTES.saturating_sub(self.output.len());
        window.min(room).saturating_sub(self.turns.reserved)
    }

    fn distribute(&mut self, events: &mut Vec<Event>) {
        let mut free = self.free_bytes();
        let share = (free / self.turns.queue.len()).max(TURN_BYTES);
        while free > 0 {
            let Some(handle) = self.turns.queue.pop_front() else {
                break;
            };
            let Some(stream) = self.streams.get_mut(handle) else {
                self.turns.vacated -= 1;
                continue;
            };
            stream.queued = false;
            let window = usize::try_from(stream.send_window).unwrap_or_default();
            let grant = window.min(share).min(free);
            if grant == 0 {
                // SETTINGS have taken the window away since it queued.
                self.turns.wait(handle, stream);
                continue;
            }
            stream.grant = grant;
            free -= grant;
            self.turns.reserved += grant;
            self.turns.granted.push(handle);
            events.push(Event::WindowOpened { stream: handle });
        }
    }
}
