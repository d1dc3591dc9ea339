use super::*;

fn framed(messages: &[&[u8]]) -> Vec<u8> {
    let framed = messages
        .iter()
        .map(|m| [&prefix(m.len() as u32)[..], m].concat());
    framed.collect::<Vec<_>>().concat()
}

#[test]
fn messages_come_out_whole_however_they_are_cut() {
    let large = vec![7; 200_000];
    let messages: [&[u8]; 5] = [b"one", b"", b"three", &large, b"five"];
    let bytes = framed(&messages);
    for size in [1, 2, 4, 5, 6, 7, 13, 1_000, 65_536, bytes.len()] {
        let mut cutter = Messages::default();
        let mut found = Vec::new();
        let mut received = 0;
        for mut piece in bytes.chunks(size) {
            received += piece.len();
            while let Some(message) = cutter.next(&mut piece, 1 << 20).unwrap() {
                found.push(message.into_bytes());
            }
            assert!(piece.is_empty());
            assert!(cutter.held_bytes() <= 2 * received + GROWTH_BYTES);
        }
        assert_eq!(found, messages);
        assert!(cutter.at_boundary());
        assert_eq!((cutter.held_bytes(), cutter.missing_bytes()), (0, 0));
    }
}

#[test]
fn a_message_within_the_input_is_not_copied() {
    let bytes = framed(&[b"first", b"second"]);
    let mut input = &bytes[..];
    let mut cutter = Messages::default();
    for expected in [&b"first"[..], b"second"] {
        match cutter.next(&mut input, 100).unwrap() {
            Some(Message::Whole(slice)) => {
                assert_eq!(slice, expected);
                assert!(bytes.as_ptr_range().contains(&slice.as_ptr()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(cutter.next(&mut input, 100), Ok(None));
}

#[test]
fn what_is_missing_is_known() {
    let mut cutter = Messages::default();
    let bytes = framed(&[&[1; 100_000]]);
    assert_eq!(cutter.next(&mut &bytes[..3], 1 << 20), Ok(None));
    assert_eq!((cutter.missing_bytes(), cutter.at_boundary()), (0, false));
    assert_eq!(cutter.next(&mut &bytes[3..1_005], 1 << 20), Ok(None));
    assert_eq!(cutter.missing_bytes(), 99_000);
    assert!(
        cutter.held_bytes() <= GROWTH_BYTES,
        "an announcement costs nothing"
    );
}

#[test]
fn bad_messages_are_refused() {
    let error = |bytes: &[u8]| Messages::default().next(&mut { bytes }, 100).unwrap_err();
    let too_large = MessageError::TooLarge {
        length: 101,
        limit: 100,
    };
    assert_eq!(error(&[0, 0, 0, 0, 101]), too_large);
    assert_eq!(
        too_large.to_string(),
        "grpc: received message larger than max (101 vs. 100)"
    );
    assert_eq!(error(&[1, 0, 0, 0, 5, 9]), MessageError::Compressed);
    assert_eq!(error(&[2, 0, 0, 0, 5]), MessageError::BadFlag(2));
    // The same when the prefix comes in two pieces.
    let mut cutter = Messages::default();
    assert_eq!(cutter.next(&mut &[0, 0][..], 100), Ok(None));
    assert_eq!(cutter.next(&mut &[0, 0, 101][..], 100), Err(too_large));
}

#[test]
fn status_texts_are_percent_encoded() {
    let mut encoded = b"x".to_vec();
    percent_encode("etcdserver: 100 % \"größe\"\n~", &mut encoded);
    assert_eq!(encoded, b"xetcdserver: 100 %25 \"gr%C3%B6%C3%9Fe\"%0A~");
}
