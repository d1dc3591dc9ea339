use super::*;

/// The code of a symbol, from its definition: counted up over lengths and symbols.
fn code_of(symbol: u16) -> (u32, u32) {
    let mut code = 0_u32;
    let mut length = 0;
    for at in BY_LENGTH {
        let next = u32::from(LENGTHS[usize::from(at)]);
        code <<= next - length;
        length = next;
        if at == symbol {
            return (code, length);
        }
        code += 1;
    }
    unreachable!("every symbol has a code")
}

fn encode(symbols: &[u16]) -> Vec<u8> {
    let (mut bytes, mut held, mut count) = (Vec::new(), 0_u64, 0);
    for symbol in symbols {
        let (code, length) = code_of(*symbol);
        held = held << length | u64::from(code);
        count += length;
        while count >= 8 {
            count -= 8;
            bytes.push((held >> count) as u8);
        }
    }
    if count > 0 {
        bytes.push((held << (8 - count)) as u8 | (0xff >> count));
    }
    bytes
}

fn decoded(input: &[u8]) -> Result<Vec<u8>, HpackError> {
    let mut text = Vec::new();
    decode(input, &mut text).map(|()| text)
}

#[test]
fn codes_are_those_of_the_rfc() {
    // A few of each length from RFC 7541, Appendix B.
    for (symbol, code, length) in [
        (b'0', 0x0, 5),
        (b't', 0x9, 5),
        (b' ', 0x14, 6),
        (b':', 0x5c, 7),
        (b'Z', 0xfd, 8),
        (b'!', 0x3f8, 10),
        (b'+', 0x7fb, 11),
        (b'#', 0xffa, 12),
        (b'~', 0x1ffd, 13),
        (b'^', 0x3ffc, 14),
        (b'{', 0x7ffe, 15),
        (b'\\', 0x7fff0, 19),
        (128, 0xfffe6, 20),
        (0, 0x1ff8, 13),
        (255, 0x3ffffee, 26),
        (22, 0x3ffffffe, 30),
    ] {
        assert_eq!(code_of(u16::from(symbol)), (code, length), "{symbol}");
    }
    assert_eq!(code_of(END_OF_STRING), (0x3fff_ffff, 30));
}

#[test]
fn every_pair_of_symbols_survives() {
    for first in 0..256 {
        for second in 0..256 {
            let expected = [first as u8, second as u8];
            assert_eq!(decoded(&encode(&[first, second])), Ok(expected.to_vec()));
        }
    }
}

#[test]
fn long_texts_survive() {
    let text: Vec<u16> = (0..5_000_u32).map(|at| (at * at % 256) as u16).collect();
    let expected: Vec<u8> = text.iter().map(|symbol| *symbol as u8).collect();
    for cut in 0..40 {
        assert_eq!(decoded(&encode(&text[cut..])), Ok(expected[cut..].to_vec()));
    }
}

#[test]
fn padding_is_less_than_a_byte_of_ones() {
    assert_eq!(decoded(&[]), Ok(vec![]));
    let whole = encode(&[u16::from(b'!'), u16::from(b'0')]);
    assert_eq!(decoded(&whole), Ok(b"!0".to_vec()));
    assert_eq!(
        decoded(&[&whole[..], &[0xff]].concat()),
        Err(HpackError::BadHuffman)
    );
    assert_eq!(decoded(&[0xff]), Err(HpackError::BadHuffman));
    assert_eq!(decoded(&[0xff; 4]), Err(HpackError::BadHuffman));
    // '0' is 00000; the padding after it has a zero in it.
    assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
    for wrong in [0b0000_0110, 0b0000_0011, 0b0000_0101] {
        assert_eq!(decoded(&[wrong]), Err(HpackError::BadHuffman));
    }
}

#[test]
fn end_of_string_is_no_symbol() {
    assert_eq!(
        decoded(&encode(&[END_OF_STRING])),
        Err(HpackError::BadHuffman)
    );
    let inside = encode(&[u16::from(b'a'), END_OF_STRING, u16::from(b'b')]);
    assert_eq!(decoded(&inside), Err(HpackError::BadHuffman));
}
