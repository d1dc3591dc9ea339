use super::*;

/// What is in an output, by its slices.
fn gathered(output: &Output) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 200];
    let count = output.slices(&mut slices);
    slices[..count]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect()
}

#[test]
fn pieces_come_out_in_order_however_they_are_written() {
    for step in [1, 7, 100, 2_049, 5_000, 1 << 20] {
        let mut output = Output::default();
        let mut expected = Vec::new();
        for at in 0..60_u32 {
            let size = [3, 2_048, 2_049, 5_000, 0][at as usize % 5];
            let piece = Bytes::from(vec![at as u8; size]);
            output.buffer().extend([at as u8, 255]);
            expected.extend([at as u8, 255]);
            expected.extend(&piece);
            output.push(piece);
        }
        assert_eq!(output.len(), expected.len());
        assert_eq!(gathered(&output), expected);
        let mut written: Vec<u8> = Vec::new();
        while !output.is_empty() {
            if step >= 100 {
                assert_eq!(gathered(&output), expected[written.len()..]);
            }
            let chunk = output.first_slice();
            let count = chunk.len().min(step);
            written.extend(&chunk[..count]);
            output.written(count);
            assert_eq!(output.len(), expected.len() - written.len());
        }
        assert_eq!(written, expected);
    }
}

#[test]
fn memory_is_given_back() {
    let mut output = Output::default();
    output.buffer().extend(vec![0; 100_000]);
    output.written(100_000);
    assert_eq!(output.copied.capacity(), 0);
    output.buffer().extend([0; 100]);
    output.written(100);
    assert!(output.copied.capacity() >= 100);
}

#[test]
fn what_is_written_is_cut_off_under_a_steady_backlog() {
    let mut output = Output::default();
    for _ in 0..1_000 {
        output.buffer().extend([7; 1_000]);
        output.push(Bytes::from_static(&[8; 3_000]));
        if output.len() > 50_000 {
            output.written(4_000);
        }
        assert!(output.copied.len() < 200_000);
    }
}

#[test]
#[should_panic(expected = "more was written than there was")]
fn nothing_is_written_twice() {
    let mut output = Output::default();
    output.buffer().push(1);
    output.written(2);
}
