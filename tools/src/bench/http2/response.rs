//! The state of one call: its flow-control windows, and the messages and status it receives.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::status::{Code, Status, percent_decode};

/// Length of the prefix of a gRPC message: a compression flag and a 32-bit length.
pub(super) const PREFIX: usize = 5;

/// Stream identifiers are small odd integers: one multiplication spreads them well enough.
#[derive(Default)]
pub(super) struct StreamHasher(u64);

impl Hasher for StreamHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 << 8 | u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    fn write_u32(&mut self, value: u32) {
        self.0 = u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// The calls of a connection by stream identifier.
pub(super) type Calls = HashMap<u32, Call, BuildHasherDefault<StreamHasher>>;

/// A call that is under way.
pub(super) struct Call {
    /// What the caller chose to recognise the call by.
    pub(super) tag: u32,
    /// Bytes that may be sent on this stream.
    pub(super) send_window: i64,
    /// Bytes received since the last WINDOW_UPDATE for this stream.
    pub(super) received: u32,
    /// Whether we have sent END_STREAM.
    pub(super) closed_by_us: bool,
    /// A message that arrived in part: prefix and payload so far.
    pub(super) partial: Vec<u8>,
    http_status: Option<u32>,
    grpc_status: Option<u32>,
    grpc_message: String,
}

impl Call {
    pub(super) fn new(tag: u32, send_window: i64, closed_by_us: bool) -> Self {
        Self {
            tag,
            send_window,
            received: 0,
            closed_by_us,
            partial: Vec::new(),
            http_status: None,
            grpc_status: None,
            grpc_message: String::new(),
        }
    }

    /// Takes note of one response header or trailer.
    pub(super) fn header(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b":status" => self.http_status = Some(number(value)),
            b"grpc-status" => self.grpc_status = Some(number(value)),
            b"grpc-message" if !value.is_empty() => self.grpc_message = percent_decode(value),
            _ => {}
        }
    }

    /// How the call ended, once its stream has.
    pub(super) fn status(&mut self) -> Status {
        let message = std::mem::take(&mut self.grpc_message);
        match (self.grpc_status, self.http_status) {
            (Some(0), _) if self.partial.is_empty() => Status::OK,
            (Some(0), _) => Status::new(Code::INTERNAL, "the stream ended inside a message"),
            (Some(code), _) => Status::new(Code(code), message),
            (None, Some(status)) if status != 200 => {
                let code = match status {
                    401 => Code::UNAUTHENTICATED,
                    404 => Code::UNIMPLEMENTED,
                    429 | 502..=504 => Code::UNAVAILABLE,
                    _ => Code::UNKNOWN,
                };
                Status::new(code, format!("HTTP status {status} and no gRPC status"))
            }
            _ => Status::new(Code::INTERNAL, "the stream ended without a gRPC status"),
        }
    }
}

fn number(value: &[u8]) -> u32 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(u32::MAX)
}
