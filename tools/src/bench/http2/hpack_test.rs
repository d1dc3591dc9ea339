//! HPACK decoding against the worked examples of RFC 7541, appendix C.

use super::hpack::{Decoder, HpackError, write_integer, write_string};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn fields(decoder: &mut Decoder, block: &str) -> Result<Vec<String>, HpackError> {
    let mut seen = Vec::new();
    decoder.decode(&hex(block), |name, value| {
        seen.push(format!("{}={}", name.escape_ascii(), value.escape_ascii()));
    })?;
    Ok(seen)
}

/// C.6: three responses on one connection, Huffman coded, through the dynamic table.
#[test]
fn responses_with_huffman_and_dynamic_table() {
    let mut decoder = Decoder::default();
    let first = fields(
        &mut decoder,
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
         2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
    )
    .unwrap();
    assert_eq!(
        first,
        [
            ":status=302",
            "cache-control=private",
            "date=Mon, 21 Oct 2013 20:13:21 GMT",
            "location=https://www.example.com"
        ]
    );
    let second = fields(&mut decoder, "4883 640e ffc1 c0bf").unwrap();
    assert_eq!(second[0], ":status=307");
    assert_eq!(second[3], "location=https://www.example.com");
}

#[test]
fn malformed_blocks_are_refused() {
    for block in [
        "ff",
        "be",
        "80",
        "40",
        "4085",
        "3fe2ff7f",
        "4082ffff 00",
        "ffffffffffff7f",
    ] {
        let mut decoder = Decoder::default();
        assert!(fields(&mut decoder, block).is_err(), "{block} was accepted");
    }
}

#[test]
fn a_table_size_update_evicts() {
    let mut decoder = Decoder::default();
    assert_eq!(fields(&mut decoder, "4001 6101 62").unwrap(), ["a=b"]);
    assert_eq!(fields(&mut decoder, "be").unwrap(), ["a=b"]);
    assert!(
        fields(&mut decoder, "20be").is_err(),
        "the entry outlived a table of size zero"
    );
}

#[test]
fn integers_and_strings_round_trip() {
    for value in [0usize, 14, 15, 16, 127, 128, 1337, 100_000] {
        let mut block = Vec::new();
        write_integer(&mut block, 0, 4, 0);
        write_string(&mut block, b"name");
        write_string(&mut block, &vec![b'v'; value]);
        let mut length = None;
        Decoder::default()
            .decode(&block, |name, text| {
                assert_eq!(name, b"name");
                length = Some(text.len());
            })
            .unwrap();
        assert_eq!(length, Some(value));
    }
}
