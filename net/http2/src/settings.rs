//! SETTINGS of both sides (RFC 9113, section 6.5).

use crate::{
    error::Goodbye,
    frame::{MAX_WINDOW, flag, header, kind},
    limits::MAX_HEADER_LIST_BYTES,
};

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;

/// What the client has announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerSettings {
    /// Bytes of response table that the client offers.
    pub(crate) header_table_bytes: u32,
    /// Send window of a new stream.
    pub(crate) initial_window: i64,
    /// Largest frame payload that the client takes.
    pub(crate) max_frame_bytes: usize,
}

impl Default for PeerSettings {
    fn default() -> Self {
        PeerSettings {
            header_table_bytes: 4_096,
            initial_window: 65_535,
            max_frame_bytes: 16_384,
        }
    }
}

/// One announced value that matters to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    HeaderTable(u32),
    InitialWindow(i64),
    MaxFrame(usize),
    /// Unknown, or of no meaning to a server.
    Nothing,
}

/// Reads one entry of six bytes and checks its value.
pub(crate) fn parse_entry(entry: [u8; 6]) -> Result<Change, Goodbye> {
    let [a, b, value @ ..] = entry;
    let value = u32::from_be_bytes(value);
    match u16::from_be_bytes([a, b]) {
        HEADER_TABLE_SIZE => Ok(Change::HeaderTable(value)),
        ENABLE_PUSH if value > 1 => Err(Goodbye::protocol("SETTINGS_ENABLE_PUSH is not 0 or 1")),
        INITIAL_WINDOW_SIZE if i64::from(value) > MAX_WINDOW => Err(Goodbye::flow_control(
            "SETTINGS_INITIAL_WINDOW_SIZE is over 2^31-1",
        )),
        INITIAL_WINDOW_SIZE => Ok(Change::InitialWindow(i64::from(value))),
        MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
            Err(Goodbye::protocol("SETTINGS_MAX_FRAME_SIZE is out of range"))
        }
        MAX_FRAME_SIZE => Ok(Change::MaxFrame(value as usize)),
        _ => Ok(Change::Nothing),
    }
}

/// Writes the server's own SETTINGS.
pub(crate) fn announce(max_concurrent_streams: u32, stream_window: u32, into: &mut Vec<u8>) {
    let entries = [
        (MAX_CONCURRENT_STREAMS, max_concurrent_streams),
        (INITIAL_WINDOW_SIZE, stream_window),
        (MAX_HEADER_LIST_SIZE, MAX_HEADER_LIST_BYTES as u32),
    ];
    into.extend(header(entries.len() * 6, kind::SETTINGS, 0, 0));
    for (name, value) in entries {
        into.extend(name.to_be_bytes());
        into.extend(value.to_be_bytes());
    }
}

/// Writes the acknowledgement of the client's SETTINGS.
pub(crate) fn acknowledge(into: &mut Vec<u8>) {
    into.extend(header(0, kind::SETTINGS, flag::ACK, 0));
}
