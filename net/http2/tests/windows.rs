//! Flow control in both directions, turns of streams that have to wait, and the output.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use bytes::Bytes;
use reeve_http2::{Config, ErrorCode, Event, StreamHandle, limits};
use std::{collections::VecDeque, io::IoSlice};
use support::*;

/// Handles the events of a turn by sending from each stream's cursor.
fn continue_sending(
    client: &mut Client,
    events: Vec<Event>,
    cursors: &mut [(StreamHandle, Bytes)],
) -> usize {
    let mut sent = 0;
    for event in events {
        let Event::WindowOpened { stream } = event else {
            panic!("{event:?}")
        };
        let (_, data) = cursors
            .iter_mut()
            .find(|(handle, _)| *handle == stream)
            .unwrap();
        let accepted = client.connection.send_data(stream, data, true).unwrap();
        assert!(accepted > 0, "a turn is worth something");
        sent += accepted;
    }
    sent
}

fn begin(client: &mut Client, stream: u32, bytes: usize) -> (StreamHandle, Bytes) {
    let handle = client.call(stream, true);
    client.connection.send_headers_grpc(handle).unwrap();
    let mut data = Bytes::from(vec![stream as u8; bytes]);
    client
        .connection
        .send_data(handle, &mut data, true)
        .unwrap();
    (handle, data)
}

fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

#[test]
fn data_is_sent_as_windows_allow() {
    let mut client = Client::with(Config::default(), &[(4, 10)]);
    let (handle, data) = begin(&mut client, 1, 25);
    assert_eq!(data.len(), 15);
    assert_eq!(body(&client.output()), [1; 10]);
    assert!(client.turn().is_empty());
    let events = client.ok(&window_update(1, 4));
    assert!(matches!(events[..], [Event::WindowOpened { stream }] if stream == handle));
    let mut data = data;
    assert_eq!(client.connection.send_data(handle, &mut data, true), Ok(4));
    // A larger initial window reaches open streams.
    let events = client.ok(&frame(SETTINGS, 0, 0, &setting(4, 16)));
    assert!(
        matches!(events[..], [Event::WindowOpened { .. }]),
        "{events:?}"
    );
    assert_eq!(client.connection.send_data(handle, &mut data, true), Ok(6));
    client.output();
    // A smaller one makes the window negative; it has to be filled up first.
    assert!(client.ok(&frame(SETTINGS, 0, 0, &setting(4, 1))).is_empty());
    assert!(client.ok(&window_update(1, 15)).is_empty());
    let events = client.ok(&window_update(1, 100));
    assert!(
        matches!(events[..], [Event::WindowOpened { .. }]),
        "{events:?}"
    );
    assert_eq!(client.connection.send_data(handle, &mut data, true), Ok(5));
    let frames = client.output();
    assert!(frames.last().unwrap().has(END_STREAM));
    assert_eq!(client.connection.open_streams(), 0);
}

#[test]
fn initial_window_overflow_is_found() {
    let mut client = Client::new();
    client.call(1, true);
    client.ok(&window_update(1, (1 << 31) - 1 - 65_535));
    let code = client.dies(&frame(SETTINGS, 0, 0, &setting(4, 65_536)));
    assert_eq!(code, ErrorCode::FLOW_CONTROL_ERROR);
}

#[test]
fn frames_respect_the_clients_size() {
    for (announced, largest) in [(16_384, 16_384), (20_000, 20_000), (1 << 20, 65_536)] {
        let settings = [(4, 1 << 20), (5, announced)];
        let mut client = Client::with(Config::default(), &settings);
        client.ok(&window_update(0, 1 << 20));
        begin(&mut client, 1, 200_000);
        let frames = client.output();
        let sizes: Vec<_> = frames[1..]
            .iter()
            .map(|frame| frame.payload.len())
            .collect();
        assert_eq!(sizes.iter().sum::<usize>(), 200_000);
        assert_eq!(sizes.iter().max(), Some(&largest));
        assert!(sizes[..sizes.len() - 1].iter().all(|size| *size == largest));
    }
}

#[test]
fn a_message_that_does_not_fit_is_left_to_the_caller() {
    let mut client = Client::with(Config::default(), &[(4, 100)]);
    let handle = client.call(1, true);
    let connection = &mut client.connection;
    assert_eq!(connection.respond_unary(handle, &[&[0; 96]]), Ok(false));
    assert_eq!(connection.respond_unary(handle, &[&[0; 95]]), Ok(true));
    assert_eq!(client.output().len(), 3);

    let handle = client.call(3, true);
    let connection = &mut client.connection;
    assert_eq!(connection.send_message(handle, &[&[0; 50]]), Ok(true));
    assert_eq!(connection.send_message(handle, &[&[0; 50]]), Ok(false));
    assert_eq!(connection.send_message(handle, &[&[0; 40]]), Ok(true));
    connection.send_trailers(handle, 0, "").unwrap();
    let kinds: Vec<_> = client.output().iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [HEADERS, DATA, DATA, HEADERS]);
}

#[test]
fn a_huge_response_takes_turns_with_small_ones() {
    let mut client = Client::with(Config::default(), &[(4, 1 << 30)]);
    let mut cursors = vec![begin(&mut client, 1, 10 << 20)];
    assert_eq!(
        body(&client.output()).len(),
        65_535,
        "the whole connection window"
    );
    // A small one comes later: it has to wait, but not for the end of the huge one.
    let handle = client.call(3, true);
    assert_eq!(
        client.connection.respond_unary(handle, &[b"small"]),
        Ok(false)
    );
    client.connection.send_headers_grpc(handle).unwrap();
    let mut small = Bytes::from_static(b"small");
    assert_eq!(client.connection.send_data(handle, &mut small, true), Ok(0));
    cursors.push((handle, small));
    client.output();
    for round in 0..3 {
        client.send(&window_update(0, 40_000)).unwrap();
        let mut events = std::mem::take(&mut client.events);
        let mut sent = [0; 2];
        while !events.is_empty() {
            for event in events.drain(..) {
                let Event::WindowOpened { stream } = event else {
                    panic!("{event:?}")
                };
                let at = usize::from(stream == cursors[1].0);
                sent[at] += client
                    .connection
                    .send_data(stream, &mut cursors[at].1, true)
                    .unwrap();
            }
            events = client.turn();
        }
        assert_eq!(sent.iter().sum::<usize>(), 40_000, "round {round}");
        assert_eq!(sent[1], if round == 0 { 5 } else { 0 });
        client.output();
    }
}

#[test]
fn many_huge_responses_share_equally() {
    let mut client = Client::with(Config::default(), &[(4, 1 << 30)]);
    let mut cursors = Vec::new();
    for at in 0..8 {
        cursors.push(begin(&mut client, 2 * at + 1, 4 << 20));
    }
    let before: Vec<_> = cursors.iter().map(|(_, data)| data.len()).collect();
    let mut events = client.ok(&window_update(0, 1 << 28));
    for _ in 0..40 {
        assert!(continue_sending(&mut client, events, &mut cursors) > 0);
        client.output();
        events = client.turn();
    }
    let sent = cursors
        .iter()
        .zip(&before)
        .map(|((_, data), before)| before - data.len());
    let sent: Vec<_> = sent.collect();
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(most - least <= 64 * 1024 && *least > 500_000, "{sent:?}");
}

#[test]
fn an_unused_turn_goes_to_the_next() {
    let mut client = Client::with(Config::default(), &[(4, 1 << 30)]);
    let first = begin(&mut client, 1, 1 << 20);
    let second = begin(&mut client, 3, 1 << 20);
    let events = client.ok(&window_update(0, 10_000));
    assert!(matches!(events[..], [Event::WindowOpened { stream }] if stream == first.0));
    // The host does nothing with it.
    let events = client.turn();
    assert!(matches!(events[..], [Event::WindowOpened { stream }] if stream == second.0));
    let mut data = second.1;
    assert_eq!(
        client.connection.send_data(second.0, &mut data, true),
        Ok(10_000)
    );
    assert!(client.turn().is_empty());
    // The first asks again and is served again.
    let mut data = first.1;
    assert_eq!(client.connection.send_data(first.0, &mut data, true), Ok(0));
    let events = client.ok(&window_update(0, 40_000));
    let turns = events
        .iter()
        .filter(|event| matches!(event, Event::WindowOpened { .. }))
        .count();
    assert_eq!(turns, 2);
    // A turn ends with its stream.
    client.ok(&frame(RST_STREAM, 0, 3, &[0; 4]));
    assert_eq!(client.turn().len(), 0);
    assert_eq!(
        client.connection.send_data(first.0, &mut data, true),
        Ok(40_000)
    );
}

#[test]
fn streams_that_end_leave_the_queue() {
    let config = Config {
        max_concurrent_streams: 10_000,
        ..Config::default()
    };
    let mut client = Client::with(config, &[(4, 1 << 30)]);
    begin(&mut client, 1, 1 << 20);
    for at in 1..3_000 {
        begin(&mut client, 2 * at + 1, 1_000);
        client.output();
        if at % 2 == 1 {
            client.now += std::time::Duration::from_millis(20);
            client.ok(&frame(RST_STREAM, 0, 2 * at + 1, &[0; 4]));
        }
    }
    let events = client.ok(&window_update(0, 1 << 28));
    let turns = events
        .iter()
        .filter(|event| matches!(event, Event::WindowOpened { .. }))
        .count();
    assert!(turns >= 16, "stale places take no room: {turns}");
    assert!(events.iter().all(|event| match event {
        Event::WindowOpened { stream } => client.connection.is_open(*stream),
        _ => false,
    }));
}

#[test]
fn output_is_bounded_and_resumes() {
    let mut client = Client::with(Config::default(), &[(4, 1 << 30)]);
    client.ok(&window_update(0, 1 << 30));
    let mut cursors = [begin(&mut client, 1, 8 << 20)];
    let held = client.connection.output().len();
    assert!((0..1_000).contains(&(held - limits::OUTPUT_ROOM_BYTES)));
    assert!(!client.connection.wants_input());
    assert!(client.turn().is_empty());
    let mut total = client.output_bytes(100_000).len();
    assert!(client.connection.wants_input());
    loop {
        let events = client.turn();
        if continue_sending(&mut client, events, &mut cursors) == 0 {
            break;
        }
        total += client.output_bytes(99_999).len();
    }
    total += client.output_bytes(usize::MAX).len();
    assert!(cursors[0].1.is_empty() && total > 8 << 20);
}

#[test]
fn large_payloads_are_written_from_where_they_lie() {
    let mut client = Client::with(Config::default(), &[(4, 1 << 20)]);
    client.ok(&window_update(0, 1 << 20));
    let handle = client.call(1, true);
    client.connection.send_headers_grpc(handle).unwrap();
    let payload = Bytes::from((0..40_000_u32).map(|at| at as u8).collect::<Vec<_>>());
    let mut data = payload.clone();
    client
        .connection
        .send_data(handle, &mut data, true)
        .unwrap();
    let output = client.connection.output();
    let mut slices = [IoSlice::new(&[]); 16];
    let count = output.slices(&mut slices);
    assert_eq!(
        slices[..count]
            .iter()
            .map(|slice| slice.len())
            .sum::<usize>(),
        output.len()
    );
    let range = payload.as_ptr_range();
    let shared = slices[..count]
        .iter()
        .filter(|slice| range.contains(&slice.as_ptr()))
        .count();
    assert_eq!(
        (shared, count),
        (3, 6),
        "three frames, each a header and a shared slice"
    );
    assert_eq!(body(&client.output()), payload);
}

#[test]
fn frames_go_over_the_ends_of_pieces() {
    let mut client = Client::with(Config::default(), &[(4, 40_000)]);
    let handle = client.call(1, true);
    client.connection.send_headers_grpc(handle).unwrap();
    let sizes = [5, 0, 10_000, 3_000, 30_000, 1];
    let mut pieces: VecDeque<Bytes> = sizes
        .iter()
        .map(|size| Bytes::from(vec![*size as u8; *size]))
        .collect();
    let whole: Vec<u8> = pieces.iter().flatten().copied().collect();
    assert_eq!(
        client.connection.send_pieces(handle, &mut pieces, true),
        Ok(40_000)
    );
    let mut frames = client.output();
    client.ok(&window_update(1, 40_000));
    assert_eq!(
        client.connection.send_pieces(handle, &mut pieces, true),
        Ok(3_006)
    );
    assert!(pieces.is_empty() && !client.connection.is_open(handle));
    frames.extend(client.output());
    assert_eq!(body(&frames), whole);
    let sizes: Vec<_> = frames[1..]
        .iter()
        .map(|frame| frame.payload.len())
        .collect();
    assert_eq!(sizes, [16_384, 16_384, 7_232, 3_006]);
    assert!(frames[4].has(END_STREAM) && !frames[3].has(END_STREAM));

    let handle = client.call(3, true);
    client.connection.send_headers_grpc(handle).unwrap();
    let mut nothing = VecDeque::from([Bytes::new()]);
    assert_eq!(
        client.connection.send_pieces(handle, &mut nothing, true),
        Ok(0)
    );
    let frames = client.output();
    assert!(nothing.is_empty() && frames[1].has(END_STREAM) && frames[1].payload.is_empty());
}

#[test]
fn receive_windows_are_enforced() {
    let mut client = Client::new();
    client.call(1, false);
    for _ in 0..4 {
        client.ok(&frame(DATA, 0, 1, &[0; 16_384]));
    }
    assert_eq!(
        client.resets(&frame(DATA, 0, 1, &[0])),
        ErrorCode::FLOW_CONTROL_ERROR
    );

    let config = Config {
        connection_window: 65_535,
        ..Config::default()
    };
    let mut client = Client::with(config, &[]);
    client.connection.hold_receiving(true);
    client.call(1, false);
    client.call(3, false);
    for stream in [1, 3, 1] {
        client.ok(&frame(DATA, 0, stream, &[0; 16_384]));
    }
    assert_eq!(
        client.dies(&frame(DATA, 0, 3, &[0; 16_384])),
        ErrorCode::FLOW_CONTROL_ERROR
    );
}

#[test]
fn the_connection_window_is_given_back_in_batches() {
    let config = Config {
        connection_window: 100_000,
        ..Config::default()
    };
    let mut client = Client::with(config, &[]);
    let mut updates = Vec::new();
    for at in 0..100 {
        let stream = 2 * at + 1;
        let handle = client.call(stream, false);
        client.ok(&frame(DATA, END_STREAM, stream, &[0; 5_000]));
        client.connection.respond_unary(handle, &[]).unwrap();
        updates.extend(
            client
                .output()
                .into_iter()
                .filter(|frame| frame.kind == WINDOW_UPDATE),
        );
    }
    assert_eq!(updates.len(), 10);
    assert!(
        updates
            .iter()
            .all(|update| (update.stream, update.number()) == (0, 50_000))
    );
}

#[test]
fn held_receiving_gives_nothing_back_until_released() {
    let mut client = Client::new();
    client.connection.hold_receiving(true);
    for stream in 0..12 {
        client.call(2 * stream + 1, false);
        for _ in 0..4 {
            client.ok(&frame(DATA, 0, 2 * stream + 1, &[0; 16_000]));
        }
    }
    assert!(client.output().is_empty());
    client.connection.hold_receiving(false);
    let frames = client.output();
    assert_eq!((frames.len(), frames[0].number()), (1, 12 * 64_000));
}

#[test]
fn the_host_grants_stream_windows() {
    let mut client = Client::new();
    let handle = client.call(1, false);
    client.ok(&frame(DATA, 0, 1, &[0; 16_000]));
    assert_eq!(
        client.connection.receive_window(handle),
        Ok(65_536 - 16_000)
    );
    // Consumption is told in batches, a grant at once, with what was owed.
    client.connection.consumed(handle, 16_000).unwrap();
    assert!(client.output().is_empty());
    client.connection.grant(handle, 1_000_000).unwrap();
    let frames = client.output();
    assert_eq!((frames[0].stream, frames[0].number()), (1, 1_016_000));
    client.connection.consumed(handle, 32_768).unwrap();
    assert_eq!(client.output()[0].number(), 32_768);
    // Never beyond what the protocol allows, and not after the end.
    client.connection.grant(handle, u32::MAX).unwrap();
    assert_eq!(client.connection.receive_window(handle), Ok((1 << 31) - 1));
    client.output();
    client.ok(&frame(DATA, END_STREAM, 1, &[0; 16_000]));
    client.connection.grant(handle, 5).unwrap();
    assert!(client.output().is_empty());
}
