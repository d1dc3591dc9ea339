//! The examples of RFC 7541, appendix C, and damage.

use super::*;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let value = |digit: u8| (digit as char).to_digit(16).unwrap() as u8;
    digits
        .chunks(2)
        .map(|pair| value(pair[0]) << 4 | value(pair[1]))
        .collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, CompressionError> {
    let mut headers = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    decoder.decode(block, |header| {
        headers.push(match header {
            Header::Static(_, name, value) => (name.to_owned(), value.to_owned()),
            Header::Shared(entry) => (text(entry.field.name()), text(entry.field.value())),
            Header::Literal(name, value) => (text(name), text(value)),
        });
    })?;
    Ok(headers)
}

fn check(decoder: &mut Decoder, block: &str, expected: &[(&str, &str)], table_size: usize) {
    let headers = decode(decoder, &unhex(block)).unwrap();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(headers, expected);
    assert_eq!(decoder.table.size(), table_size);
}

const FIRST: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
];
const THIRD: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];

#[test]
fn plain_requests_of_the_rfc() {
    let mut decoder = Decoder::new();
    check(
        &mut decoder,
        "828684410f7777772e6578616d706c652e636f6d",
        FIRST,
        57,
    );
    let mut second = FIRST.to_vec();
    second.push(("cache-control", "no-cache"));
    check(&mut decoder, "828684be58086e6f2d6361636865", &second, 110);
    let block = "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565";
    check(&mut decoder, block, THIRD, 164);
}

#[test]
fn huffman_requests_of_the_rfc() {
    let mut decoder = Decoder::new();
    check(
        &mut decoder,
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        FIRST,
        57,
    );
    let mut second = FIRST.to_vec();
    second.push(("cache-control", "no-cache"));
    check(&mut decoder, "828684be5886a8eb10649cbf", &second, 110);
    check(
        &mut decoder,
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        THIRD,
        164,
    );
}

#[test]
fn every_byte_survives_the_huffman_code() {
    let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    for window in 1..40 {
        for text in all.windows(window) {
            let mut decoded = Vec::new();
            huffman::decode(&huffman::encode(text), &mut decoded).unwrap();
            assert_eq!(decoded, text);
        }
    }
}

#[test]
fn bad_huffman_padding_is_refused() {
    let mut out = Vec::new();
    // A whole byte of padding, padding of zeros, and the end-of-string symbol.
    assert!(huffman::decode(&[0x1f, 0xff], &mut out).is_err());
    assert!(huffman::decode(&[0x18], &mut out).is_err());
    assert!(huffman::decode(&[0xff, 0xff, 0xff, 0xff], &mut out).is_err());
}

#[test]
fn the_table_evicts_the_oldest() {
    let mut decoder = Decoder::new();
    // Resize to 64 bytes, then two entries of 34 bytes: the second evicts the first.
    let block = b"\x3f\x21\x40\x01a\x01b\x40\x01c\x01d\xbe";
    let headers = decode(&mut decoder, block).unwrap();
    assert_eq!(headers[2], ("c".to_owned(), "d".to_owned()));
    assert_eq!(decode(&mut decoder, b"\xbf"), Err(CompressionError));
    // An entry larger than the table empties it and is no error.
    let mut block = b"\x40\x01e\x28".to_vec();
    block.extend([b'x'; 40]);
    decode(&mut decoder, &block).unwrap();
    assert_eq!(decoder.table.size(), 0);
}

#[test]
fn damage_is_refused() {
    let damaged: &[&[u8]] = &[
        b"\x80",                     // index 0
        b"\xbe",                     // an entry that does not exist
        b"\x82\x20",                 // a resize after a header
        b"\x3f\xe2\x1f",             // a resize above the offer
        b"\x40\x05ab",               // a string beyond the end
        b"\xff\xff\xff\xff\xff\x0f", // an integer too large
        b"\xff",                     // an integer that ends
    ];
    for block in damaged {
        assert_eq!(
            decode(&mut Decoder::new(), block),
            Err(CompressionError),
            "{block:x?}"
        );
    }
}
