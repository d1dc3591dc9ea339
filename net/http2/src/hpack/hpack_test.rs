//! HPACK as a whole: examples of RFC 7541, and random headers against other encoders and decoders.

use super::*;
use crate::{field::Field, limits::HEADER_TABLE_BYTES};
use httlib_hpack::{Decoder as OtherDecoder, Encoder as OtherEncoder};
use proptest::prelude::*;

fn texts(fields: &[std::rc::Rc<Field>]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields
        .iter()
        .map(|field| (text(field.name()), text(field.value())))
        .collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, HpackError> {
    let mut list = FieldList::default();
    decoder.decode(block, &mut list)?;
    assert!(!list.too_large && list.timeout.is_none());
    Ok(texts(&list.fields))
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|digit| (digit as char).to_digit(16))
        .map(|n| n as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

/// RFC 7541, Appendix C.3 (plain) and C.4 (Huffman): three requests on one connection.
#[test]
fn requests_of_the_rfc() {
    let first = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    let second = [&first[..], &[("cache-control", "no-cache")]].concat();
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new();
        for (block, fields) in blocks.iter().zip([&first[..], &second, &third]) {
            assert_eq!(decode(&mut decoder, &hex(block)), Ok(owned(fields)));
        }
    }
}

#[test]
fn the_table_evicts_the_oldest() {
    let mut decoder = Decoder::new();
    // Room for two fields of 40 bytes.
    let mut block = vec![0x3f, 80 - 31];
    for name in [b'a', b'b', b'c'] {
        block.extend([0x40, 1, name, 7]);
        block.extend([name; 7]);
    }
    decode(&mut decoder, &block).unwrap();
    let both = decode(&mut decoder, &[0xbe, 0xbf]).unwrap();
    assert_eq!(both, owned(&[("c", "ccccccc"), ("b", "bbbbbbb")]));
    assert_eq!(decode(&mut decoder, &[0xc0]), Err(HpackError::BadIndex));
    // One that is larger than the table empties it.
    let mut block = vec![0x40, 1, b'd', 60];
    block.extend([b'd'; 60]);
    assert_eq!(decode(&mut decoder, &block).unwrap().len(), 1);
    assert_eq!(decode(&mut decoder, &[0xbe]), Err(HpackError::BadIndex));
}

#[test]
fn a_name_may_come_from_an_entry_that_its_field_evicts() {
    let mut decoder = Decoder::new();
    decode(&mut decoder, &[0x3f, 40 - 31, 0x40, 1, b'n', 0]).unwrap();
    let fields = decode(&mut decoder, &[0x7e, 7, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    assert_eq!(fields[0].0, "n");
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), fields);
}

#[test]
fn numbers_are_bounded() {
    let read = |bytes: &[u8], prefix_bits| {
        let (&first, mut rest) = bytes.split_first().unwrap();
        integer::decode(first, prefix_bits, &mut rest)
    };
    assert_eq!(read(&[0b1110_1010], 5), Ok(10));
    assert_eq!(read(&[0b0001_1111, 0b1001_1010, 0b0000_1010], 5), Ok(1_337));
    assert_eq!(read(&[31, 0x80, 0x80, 0x80, 0x00], 5), Ok(31));
    assert_eq!(
        read(&[31, 0x80, 0x80, 0x80, 0x80, 0], 5),
        Err(HpackError::IntegerTooLarge)
    );
    assert_eq!(read(&[31, 0x80], 5), Err(HpackError::Truncated));
    for value in [
        0,
        1,
        30,
        31,
        32,
        127,
        128,
        1_337,
        16_383,
        65_536,
        (1 << 28) - 1,
    ] {
        for prefix_bits in 4..8 {
            let mut bytes = Vec::new();
            integer::encode(value, prefix_bits, 0, &mut bytes);
            assert_eq!(read(&bytes, prefix_bits), Ok(value));
        }
    }
}

#[test]
fn table_sizes_are_checked() {
    let mut size = Vec::new();
    integer::encode(HEADER_TABLE_BYTES, 5, 0x20, &mut size);
    assert_eq!(decode(&mut Decoder::new(), &size), Ok(vec![]));
    size.clear();
    integer::encode(HEADER_TABLE_BYTES + 1, 5, 0x20, &mut size);
    assert_eq!(
        decode(&mut Decoder::new(), &size),
        Err(HpackError::BadTableSize)
    );
    assert_eq!(
        decode(&mut Decoder::new(), &[0x20, 0x3f, 1, 0x83])
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        decode(&mut Decoder::new(), &[0x83, 0x20]),
        Err(HpackError::BadTableSize)
    );
}

/// Any header, drawn from few so that they repeat.
fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, u8)> {
    let name = prop_oneof![
        3 => prop::sample::select(&static_table::ENTRIES[..]).prop_map(|entry| entry.0.into()),
        3 => "[a-e]{1,2}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..200),
    ];
    let value = prop_oneof![
        3 => "[a-c]{0,2}".prop_map(String::into_bytes),
        2 => "[ -~]{0,60}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ];
    let flags = (any::<u8>(), any::<bool>()).prop_map(|(bits, indexing)| {
        let choice = if indexing {
            OtherEncoder::WITH_INDEXING
        } else {
            bits & 0x8
        };
        bits & (OtherEncoder::HUFFMAN_NAME | OtherEncoder::HUFFMAN_VALUE | 0x10) | choice
    });
    (name, value, flags)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What another implementation encodes is decoded, over many blocks and size changes.
    #[test]
    fn blocks_of_another_encoder(
        blocks in prop::collection::vec((prop::collection::vec(field(), 0..12), any::<u16>()), 1..30),
    ) {
        let mut encoder = OtherEncoder::with_dynamic_size(HEADER_TABLE_BYTES as u32);
        let mut decoder = Decoder::new();
        for (fields, resize) in blocks {
            let mut block = Vec::new();
            if resize % 4 == 0 {
                let size = u32::from(resize) % (HEADER_TABLE_BYTES as u32 + 1);
                encoder.update_max_dynamic_size(size, &mut block).unwrap();
            }
            for field in &fields {
                encoder.encode(field.clone(), &mut block).unwrap();
            }
            let mut list = FieldList::default();
            decoder.decode(&block, &mut list).unwrap();
            let found: Vec<_> = list.fields.iter().map(|field| (field.name(), field.value())).collect();
            let expected: Vec<_> = fields.iter().map(|(name, value, _)| (&**name, &**value)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    /// What is encoded for clients, another implementation decodes, while the client changes its table size.
    #[test]
    fn responses_for_another_decoder(steps in prop::collection::vec((0..6, 0..5_000_u32), 1..60)) {
        let mut encoder = ResponseEncoder::new();
        let mut decoder = OtherDecoder::with_dynamic_size(4_096);
        let mut allowed = 4_096;
        for (step, size) in steps {
            let mut block = Vec::new();
            let number = size.to_string();
            let mut expected = vec![(":status", "200"), ("content-type", "application/grpc")];
            match step {
                0 => {
                    encoder.set_peer_capacity(size);
                    allowed = size;
                    continue;
                }
                1 => encoder.grpc_headers(&mut block),
                2 => {
                    encoder.grpc_ok(&mut block);
                    expected = vec![("grpc-status", "0")];
                }
                3 => {
                    encoder.grpc_status(true, size, b"text", &mut block);
                    expected.push(("grpc-status", if size == 0 { "0" } else { &number }));
                    expected.push(("grpc-message", "text"));
                }
                4 => {
                    encoder.grpc_status(false, 0, b"", &mut block);
                    expected = vec![("grpc-status", "0")];
                }
                _ => {
                    let status = 200 + size as u16 % 400;
                    let number = status.to_string();
                    encoder.headers(status, &[("a", b"b")], &mut block);
                    let mut found = Vec::new();
                    decoder.set_max_dynamic_size(allowed);
                    decoder.decode(&mut block, &mut found).unwrap();
                    prop_assert_eq!(&found[0].1, number.as_bytes());
                    prop_assert_eq!(&found[1].1, b"b");
                    continue;
                }
            }
            decoder.set_max_dynamic_size(allowed);
            let mut found = Vec::new();
            decoder.decode(&mut block, &mut found).unwrap();
            let found: Vec<_> = found
                .iter()
                .map(|(name, value, _)| {
                    (std::str::from_utf8(name).unwrap(), std::str::from_utf8(value).unwrap())
                })
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    /// Nothing that a client sends makes the decoder panic or hold more than its table.
    #[test]
    fn any_bytes(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut decoder = Decoder::new();
        for block in blocks {
            let mut list = FieldList::default();
            if decoder.decode(&block, &mut list).is_err() {
                break;
            }
        }
    }
}
