//! The headers that the server sends, encoded beforehand.
//!
//! Two headers recur in every successful call: `content-type: application/grpc` and `grpc-status: 0`. The first time the
//! client is told to remember them (literal with incremental indexing), after that each is one byte. Nothing else is ever
//! put into the client's table, so their places are known: 62 is the younger, 63 the elder.

use super::frame::{self, HEADER_BYTES, flag, kind};
use crate::grpc::{Status, percent_encode};

/// `:status: 200`, entry 8 of the static table.
const STATUS_200: u8 = 0x88;
const CONTENT_TYPE_INDEX: u8 = 31;
const GRPC: &[u8] = b"application/grpc";
/// The size of table that every client has unless it says otherwise.
const DEFAULT_TABLE_BYTES: u32 = 4096;
/// Headers that exceed a frame are cut; a longer status text is of no use to anyone.
const MAX_MESSAGE_BYTES: usize = 8 * 1024;

/// What the client's table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Remembered {
    #[default]
    Nothing,
    ContentType,
    Both,
    /// The client's table is too small for the scheme.
    Never,
}

/// Writes response headers and trailers for one connection.
#[derive(Debug, Default)]
pub(super) struct ResponseHeads {
    remembered: Remembered,
}

impl ResponseHeads {
    /// The client has announced the size of its table.
    pub(super) fn peer_table_size(&mut self, size: u32) {
        if size < DEFAULT_TABLE_BYTES {
            // A smaller size has to be confirmed at the start of the next block (RFC 7541, section 4.2); zero is always
            // allowed and empties the table. Rare, so nothing cleverer.
            self.remembered = Remembered::Never;
        }
    }

    /// Bytes that confirm an empty table, once the scheme has been given up.
    fn confirm(&self, into: &mut Vec<u8>) {
        if self.remembered == Remembered::Never {
            into.push(0x20);
        }
    }

    /// The headers before the first message.
    pub(super) fn put_headers(&mut self, into: &mut Vec<u8>, stream: u32) {
        if let Remembered::ContentType | Remembered::Both = self.remembered {
            let place = if self.remembered == Remembered::Both {
                63
            } else {
                62
            };
            return put_block(into, flag::END_HEADERS, stream, |block| {
                block.extend_from_slice(&[STATUS_200, 0x80 | place]);
            });
        }
        put_block(into, flag::END_HEADERS, stream, |block| {
            self.confirm(block);
            block.push(STATUS_200);
            self.content_type(block);
        });
        if self.remembered == Remembered::Nothing {
            self.remembered = Remembered::ContentType;
        }
    }

    /// The trailers of a call that succeeded.
    pub(super) fn put_success(&mut self, into: &mut Vec<u8>, stream: u32) {
        let flags = flag::END_HEADERS | flag::END_STREAM;
        match self.remembered {
            Remembered::Both => put_block(into, flags, stream, |block| block.push(0x80 | 62)),
            Remembered::ContentType => {
                put_block(into, flags, stream, |block| {
                    block.push(0x40);
                    put_string(block, b"grpc-status");
                    put_string(block, b"0");
                });
                self.remembered = Remembered::Both;
            }
            Remembered::Nothing | Remembered::Never => put_block(into, flags, stream, |block| {
                self.confirm(block);
                put_literal(block, b"grpc-status", b"0");
            }),
        }
    }

    /// The trailers of a call that failed after its headers went out.
    pub(super) fn put_failure(&self, into: &mut Vec<u8>, stream: u32, status: &Status) {
        put_block(
            into,
            flag::END_HEADERS | flag::END_STREAM,
            stream,
            |block| {
                self.confirm(block);
                put_status(block, status);
            },
        );
    }

    /// The whole response of a call that failed before its headers went out, with an HTTP status.
    pub(super) fn put_only(&self, into: &mut Vec<u8>, stream: u32, http: u16, status: &Status) {
        put_block(
            into,
            flag::END_HEADERS | flag::END_STREAM,
            stream,
            |block| {
                self.confirm(block);
                put_http_status(block, http);
                put_indexed_name(block, CONTENT_TYPE_INDEX, GRPC);
                put_status(block, status);
            },
        );
    }

    /// The headers of an answer to a request that is not gRPC: a text follows.
    pub(super) fn put_text_headers(&self, into: &mut Vec<u8>, stream: u32, http: u16) {
        put_block(into, flag::END_HEADERS, stream, |block| {
            self.confirm(block);
            put_http_status(block, http);
            put_indexed_name(block, CONTENT_TYPE_INDEX, b"text/plain; charset=utf-8");
        });
    }

    fn content_type(&self, block: &mut Vec<u8>) {
        if self.remembered == Remembered::Never {
            put_indexed_name(block, CONTENT_TYPE_INDEX, GRPC);
        } else {
            block.push(0x40 | CONTENT_TYPE_INDEX);
            put_string(block, GRPC);
        }
    }
}

/// Appends a HEADERS frame with the block that `fill` writes.
fn put_block(into: &mut Vec<u8>, flags: u8, stream: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = into.len();
    into.extend_from_slice(&[0; HEADER_BYTES]);
    fill(into);
    let length = into.len() - start - HEADER_BYTES;
    let header = frame::FrameHeader {
        length,
        kind: kind::HEADERS,
        flags,
        stream,
    };
    into[start..start + HEADER_BYTES].copy_from_slice(&header.encode());
}

fn put_http_status(block: &mut Vec<u8>, http: u16) {
    if http == 200 {
        block.push(STATUS_200);
    } else {
        put_indexed_name(block, 8, http.to_string().as_bytes());
    }
}

fn put_status(block: &mut Vec<u8>, status: &Status) {
    put_literal(
        block,
        b"grpc-status",
        (status.code as u8).to_string().as_bytes(),
    );
    if !status.message.is_empty() {
        let mut text = Vec::with_capacity(status.message.len());
        percent_encode(&status.message, &mut text);
        text.truncate(MAX_MESSAGE_BYTES);
        put_literal(block, b"grpc-message", &text);
    }
}

/// A literal without indexing whose name is in the static table.
fn put_indexed_name(block: &mut Vec<u8>, index: u8, value: &[u8]) {
    if index < 15 {
        block.push(index);
    } else {
        block.extend_from_slice(&[15, index - 15]);
    }
    put_string(block, value);
}

/// A literal without indexing.
fn put_literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    put_string(block, name);
    put_string(block, value);
}

fn put_string(block: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        block.push(length as u8);
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(length as u8 | 0x80);
            length >>= 7;
        }
        block.push(length as u8);
    }
    block.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        grpc::Code,
        http2::hpack::{Decoder, Header},
    };

    fn headers(decoder: &mut Decoder, frame: &[u8]) -> Vec<String> {
        let mut out = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let take = |header: Header<'_>| {
            out.push(match header {
                Header::Static(_, name, value) => format!("{name}: {value}"),
                Header::Shared(entry) => {
                    format!(
                        "{}: {}",
                        text(entry.field.name()),
                        text(entry.field.value())
                    )
                }
                Header::Literal(name, value) => format!("{}: {}", text(name), text(value)),
            });
        };
        decoder.decode(&frame[HEADER_BYTES..], take).unwrap();
        out
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    fn check_calls(heads: &mut ResponseHeads) -> Vec<usize> {
        let mut decoder = Decoder::new();
        let mut sizes = Vec::new();
        let failure = Status::new(Code::NotFound, "no such thing: 50%");
        for _ in 0..3 {
            let frame = written(|out| heads.put_headers(out, 1));
            let expected = [":status: 200", "content-type: application/grpc"];
            assert_eq!(headers(&mut decoder, &frame), expected);
            let trailers = written(|out| heads.put_success(out, 1));
            assert_eq!(headers(&mut decoder, &trailers), ["grpc-status: 0"]);
            let only = written(|out| heads.put_only(out, 1, 200, &failure));
            assert_eq!(
                headers(&mut decoder, &only)[2..],
                ["grpc-status: 5", "grpc-message: no such thing: 50%25"]
            );
            sizes.push(frame.len() + trailers.len());
        }
        sizes
    }

    #[test]
    fn recurring_headers_shrink_to_bytes() {
        let sizes = check_calls(&mut ResponseHeads::default());
        assert_eq!(sizes[1..], [21, 21]);
    }

    #[test]
    fn a_client_without_a_table_gets_literals() {
        let mut heads = ResponseHeads::default();
        heads.peer_table_size(0);
        let sizes = check_calls(&mut heads);
        assert_eq!(sizes[0], sizes[2]);
    }

    #[test]
    fn an_early_failure_has_an_http_status() {
        let status = Status::internal("x".repeat(300));
        let heads = ResponseHeads::default();
        let frame = written(|out| heads.put_only(out, 1, 405, &status));
        let headers = headers(&mut Decoder::new(), &frame);
        assert_eq!(headers[0], ":status: 405");
        assert_eq!(headers[3].len(), "grpc-message: ".len() + 300);
    }
}
