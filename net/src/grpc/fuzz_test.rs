//! Arbitrary bytes as the DATA of a call, and as its timeout.

use super::parse_timeout;
use crate::fuzz;
use reeve_http2::grpc::Messages;

const LIMIT: usize = 1 << 16;

/// Cuts `bytes` into messages, fed in pieces of `piece` bytes; the messages, and whether it ended in an error.
fn cut(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let mut cutter = Messages::default();
    let mut messages = Vec::new();
    for mut input in bytes.chunks(piece) {
        loop {
            match cutter.next(&mut input, LIMIT) {
                Ok(Some(message)) => messages.push(message.as_slice().to_vec()),
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
        assert!(input.is_empty(), "what was not taken is lost");
        assert!(
            cutter.held_bytes() <= 2 * LIMIT,
            "a message beyond the limit is held"
        );
    }
    (messages, false)
}

#[test]
fn fuzz_framing() {
    let seeds = [
        vec![0, 0, 0, 0, 3, b'a', b'b', b'c', 0, 0, 0, 0, 0],
        vec![1, 0, 0, 0, 1, 9],
        vec![0, 0xff, 0xff, 0xff, 0xff],
    ];
    fuzz::run("grpc framing", &seeds, |bytes| {
        let whole = cut(bytes, bytes.len().max(1));
        for piece in [1, 4, 7] {
            assert_eq!(cut(bytes, piece), whole, "in pieces of {piece} bytes");
        }
        whole.0.len() as u64 * 2 + u64::from(whole.1)
    });
}

#[test]
fn fuzz_timeout() {
    let seeds = ["1S", "99999999H", "0n", "12m", "1"].map(|text| text.as_bytes().to_vec());
    fuzz::run("grpc-timeout", &seeds, |bytes| {
        u64::from(parse_timeout(bytes).is_ok())
    });
}
