//! What members say to each other, as bytes; without a socket, a clock or a thread.
//!
//! A member dials every other member, once for each [`Lane`], and speaks on what it has dialled; the other side only
//! answers there. A connection begins with [`MAGIC`] and a [`Hello`]; the answer is [`MAGIC`] and a [`Welcome`], or a
//! [`Refusal`] that says why not. From then on [frames](FrameReader) with messages and parcels follow, and pings that are
//! echoed, so that both sides know that the other lives.
//!
//! Every frame has a version, bits that must be understood, a length and a checksum; every table is a flatbuffer
//! (`peer.fbs`). What an entry carries travels as the bytes that the log holds.
//!
//! Everything that arrives is checked: arbitrary bytes give an error and never more memory than a frame may have.

#![forbid(unsafe_code)]

mod frame;
mod hello;
mod lane;
mod message;
mod output;
mod refusal;
mod table;

pub use frame::{Frame, FrameError, FrameKind, FrameReader, HANDSHAKE_BYTES, HEADER_BYTES};
pub use hello::{Hello, Local, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Standing, Welcome, judge};
pub use lane::Lane;
pub use message::{Encoder, decode_message, refused_proposal};
pub use output::Output;
pub use refusal::Refusal;
pub use table::Malformed;

/// The first bytes of either side of a link. No HTTP request begins so.
pub const MAGIC: &[u8; 8] = b"\0REEVE\r\n";
