//! From bytes to frames.

use super::{Connection, Event};
use crate::{
    error::Goodbye,
    frame::{FrameHeader, HEADER_BYTES, PREFACE, flag, kind},
    limits::{MAX_FRAME_BYTES, OUTPUT_LIMIT_BYTES},
};
use std::time::Duration;

/// A buffer for partial frames is kept up to this capacity.
const KEPT_PARTIAL_BYTES: usize = 1_024;

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// This many bytes of the preface have come.
    Preface(usize),
    /// The client's SETTINGS have to come next.
    Settings,
    /// Any frame may come.
    Open,
}

impl Connection {
    /// Takes all of `input` and appends to `events` what the client did.
    ///
    /// Frames may be cut anywhere between calls. DATA is not copied: [`Event::Data`] holds ranges of `input`, so the host
    /// handles the events before it reuses the buffer.
    ///
    /// # Errors
    /// The connection is over. Events before the fault are in `events`; the stream handles in them are void.
    ///
    /// # Panics
    /// If `input` is 4 GiB or longer.
    pub fn receive(
        &mut self,
        now: Duration,
        input: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        assert!(u32::try_from(input.len()).is_ok(), "input of 4 GiB");
        if let Some(goodbye) = &self.goodbye {
            return Err(goodbye.clone());
        }
        self.now = now;
        if !input.is_empty() {
            self.keepalive.received(now);
        }
        if let Err(goodbye) = self.take_input(input, events) {
            return Err(self.end(goodbye));
        }
        self.credit_connection();
        self.resume(events);
        Ok(())
    }

    fn take_input(&mut self, input: &[u8], events: &mut Vec<Event>) -> Result<(), Goodbye> {
        let mut at = self.take_preface(input)?;
        while at < input.len() {
            at = if self.incoming.is_some() {
                self.take_data(input, at, events)?
            } else if self.partial.is_empty() {
                self.take_frame(input, at, events)?
            } else {
                self.take_partial(input, at, events)?
            };
        }
        if self.output.len() > OUTPUT_LIMIT_BYTES {
            return Err(Goodbye::calm("responses_not_read"));
        }
        Ok(())
    }

    fn take_preface(&mut self, input: &[u8]) -> Result<usize, Goodbye> {
        let Phase::Preface(seen) = self.phase else {
            return Ok(0);
        };
        let expected = PREFACE.get(seen..).unwrap_or_default();
        let taken = expected.len().min(input.len());
        if expected.get(..taken) != input.get(..taken) {
            return Err(Goodbye::protocol("not an HTTP/2 connection preface"));
        }
        let seen = seen + taken;
        self.phase = if seen == PREFACE.len() {
            Phase::Settings
        } else {
            Phase::Preface(seen)
        };
        Ok(taken)
    }

    /// Takes the frame that begins at `at`, or what there is of it; returns where the next one begins.
    fn take_frame(
        &mut self,
        input: &[u8],
        at: usize,
        events: &mut Vec<Event>,
    ) -> Result<usize, Goodbye> {
        let rest = input.get(at..).unwrap_or_default();
        let Some(frame) = FrameHeader::parse(rest) else {
            self.partial.extend_from_slice(rest);
            return Ok(input.len());
        };
        self.check_frame(&frame)?;
        if frame.kind == kind::DATA {
            self.begin_data(&frame, events)?;
            return Ok(at + HEADER_BYTES);
        }
        match rest.get(HEADER_BYTES..HEADER_BYTES + frame.length) {
            Some(payload) => {
                self.frame(&frame, payload, events)?;
                Ok(at + HEADER_BYTES + frame.length)
            }
            None => {
                self.partial.extend_from_slice(rest);
                Ok(input.len())
            }
        }
    }

    /// Continues a frame of which the beginning came before.
    fn take_partial(
        &mut self,
        input: &[u8],
        mut at: usize,
        events: &mut Vec<Event>,
    ) -> Result<usize, Goodbye> {
        if self.partial.len() < HEADER_BYTES {
            at = self.fill_partial(input, at, HEADER_BYTES);
            let Some(frame) = FrameHeader::parse(&self.partial) else {
                return Ok(at);
            };
            self.check_frame(&frame)?;
            if frame.kind == kind::DATA {
                self.partial.clear();
                self.begin_data(&frame, events)?;
                return Ok(at);
            }
        }
        let Some(frame) = FrameHeader::parse(&self.partial) else {
            unreachable!("the header was completed above");
        };
        at = self.fill_partial(input, at, HEADER_BYTES + frame.length);
        if self.partial.len() < HEADER_BYTES + frame.length {
            return Ok(at);
        }
        let mut partial = std::mem::take(&mut self.partial);
        let payload = partial.get(HEADER_BYTES..).unwrap_or_default();
        self.frame(&frame, payload, events)?;
        if partial.capacity() <= KEPT_PARTIAL_BYTES {
            partial.clear();
            self.partial = partial;
        }
        Ok(at)
    }

    /// Copies from `input` until `partial` is `length` bytes long; returns where it stopped.
    fn fill_partial(&mut self, input: &[u8], at: usize, length: usize) -> usize {
        let rest = input.get(at..).unwrap_or_default();
        let taken = rest.len().min(length - self.partial.len());
        self.partial
            .extend_from_slice(rest.get(..taken).unwrap_or_default());
        at + taken
    }

    /// What can be said from the header alone.
    #[inline]
    fn check_frame(&mut self, frame: &FrameHeader) -> Result<(), Goodbye> {
        if frame.length > MAX_FRAME_BYTES {
            return Err(Goodbye::frame_size(
                "a frame is larger than SETTINGS_MAX_FRAME_SIZE",
            ));
        }
        if self.phase != Phase::Open {
            if frame.kind != kind::SETTINGS || frame.has(flag::ACK) {
                return Err(Goodbye::protocol("the first frame is not SETTINGS"));
            }
            self.phase = Phase::Open;
        }
        if let Some(pending) = &self.pending_block
            && (frame.kind != kind::CONTINUATION || frame.stream != pending.id())
        {
            return Err(Goodbye::protocol("a header block is interrupted"));
        }
        Ok(())
    }

    #[inline]
    fn frame(
        &mut self,
        frame: &FrameHeader,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        match frame.kind {
            kind::HEADERS => self.headers(frame, payload, events),
            kind::WINDOW_UPDATE => self.window_update(frame, payload, events),
            kind::CONTINUATION => self.continuation(frame, payload, events),
            kind::RST_STREAM => self.rst_stream(frame, payload, events),
            kind::SETTINGS => self.settings(frame, payload),
            kind::PING => self.ping_frame(frame, payload, events),
            kind::GOAWAY => self.go_away_frame(frame, payload, events),
            kind::PRIORITY => self.priority(frame, payload, events),
            kind::PUSH_PROMISE => Err(Goodbye::protocol("a client cannot push")),
            _ => self.spend_control(),
        }
    }

    /// Counts a frame that carries nothing.
    #[inline]
    pub(super) fn spend_control(&mut self) -> Result<(), Goodbye> {
        self.guard.control.take(self.now).map_err(Goodbye::calm)
    }
}
