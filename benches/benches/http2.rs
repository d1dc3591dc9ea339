//! What the server side of HTTP/2 costs, without sockets: a read full of unary calls taken apart and answered, header
//! blocks of several kinds decoded, events sent on a stream that stays open.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use httlib_hpack::Encoder;
use reeve_http2::grpc::Messages;
use reeve_http2::{Config, Connection, Event, PREFACE, StreamHandle};

/// Calls per connection.
const CALLS: u32 = 2_000;
/// Largest message taken, in bytes.
const LIMIT: usize = 1 << 20;

/// How a client writes the headers of its calls.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// Everything in the table: grpc-go, h2load.
    Indexed,
    /// The path as a literal in each request: Rust's h2.
    LiteralPath,
    /// Besides, a deadline that differs each time and enters the table: grpc-go with timeouts.
    Timeouts,
    /// Nothing in the table: every string is decoded from Huffman code each time.
    Literals,
}

const STYLES: [(&str, Style); 4] = [
    ("indexed", Style::Indexed),
    ("literal path", Style::LiteralPath),
    ("timeouts", Style::Timeouts),
    ("literals", Style::Literals),
];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn block(encoder: &mut Encoder<'_>, style: Style, call: u32) -> Vec<u8> {
    const HUFFMAN: u8 = Encoder::HUFFMAN_NAME | Encoder::HUFFMAN_VALUE;
    const REMEMBERED: u8 = Encoder::BEST_FORMAT | Encoder::WITH_INDEXING | HUFFMAN;
    let (all, path) = match style {
        Style::LiteralPath => (REMEMBERED, REMEMBERED & !Encoder::WITH_INDEXING),
        Style::Literals => (HUFFMAN, HUFFMAN),
        _ => (REMEMBERED, REMEMBERED),
    };
    let timeout = format!("{}u", 1_000_000 - call);
    let mut fields = vec![
        (":method", "POST", REMEMBERED),
        (":scheme", "http", REMEMBERED),
        (":path", "/etcdserverpb.KV/Range", path),
        (":authority", "127.0.0.1:2379", all),
        ("content-type", "application/grpc", all),
        ("user-agent", "grpc-go/1.79.0", all),
        ("te", "trailers", all),
    ];
    if style == Style::Timeouts {
        fields.push(("grpc-timeout", &timeout, REMEMBERED));
    }
    let mut block = Vec::new();
    for (name, value, flags) in fields {
        let field = (name.as_bytes().to_vec(), value.as_bytes().to_vec(), flags);
        assert!(encoder.encode(field, &mut block).is_ok());
    }
    block
}

/// The first that a client sends, with windows that never run out.
fn hello() -> Vec<u8> {
    let window = 1_u32 << 30;
    let wide = [&[0, 4][..], &window.to_be_bytes()].concat();
    let parts = [
        PREFACE.to_vec(),
        frame(4, 0, 0, &wide),
        frame(8, 0, 0, &window.to_be_bytes()),
    ];
    parts.concat()
}

/// What a client sends, read by read: `per_read` calls at a time, with messages of `payload` bytes.
fn calls(style: Style, payload: usize, per_read: u32) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::with_dynamic_size(4_096);
    let message = [&[0][..], &(payload as u32).to_be_bytes(), &vec![7; payload]].concat();
    let read = |first: u32| {
        let mut read = Vec::new();
        for call in first..first + per_read {
            let stream = 2 * call + 1;
            read.extend(frame(1, 4, stream, &block(&mut encoder, style, call)));
            read.extend(frame(0, 1, stream, &message));
        }
        read
    };
    (0..CALLS).step_by(per_read as usize).map(read).collect()
}

fn connected() -> Connection {
    let mut connection = Connection::new(Config::default(), Duration::ZERO);
    let received = connection.receive(Duration::ZERO, &hello(), &mut Vec::new());
    assert_eq!(received, Ok(()));
    drain(&mut connection);
    connection
}

/// Drops the output, as if it had been written.
fn drain(connection: &mut Connection) {
    let output = connection.output();
    black_box(output.first_slice());
    output.written(output.len());
}

/// The calls whose last byte came with `input`: their messages are cut out, and each is handed to `each`.
fn complete(events: &mut Vec<Event>, input: &[u8], mut each: impl FnMut(StreamHandle)) -> u32 {
    let mut count = 0;
    for event in events.drain(..) {
        if let Event::Data {
            stream,
            end_stream: true,
            piece,
        } = event
        {
            let mut body = &input[piece.range()];
            let message = Messages::default().next(&mut body, LIMIT);
            black_box(message.unwrap().unwrap().as_slice());
            each(stream);
            count += 1;
        }
    }
    count
}

/// Unary calls, taken apart and answered.
fn unary(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http2/unary call");
    group.throughput(Throughput::Elements(u64::from(CALLS)));
    let shapes = [(0, 10), (256, 1), (256, 10), (256, 100)];
    for (name, style) in STYLES {
        for (payload, per_read) in shapes {
            // How many come at once matters little to how headers are decoded.
            if style != Style::Indexed && per_read != 10 {
                continue;
            }
            let reads = calls(style, payload, per_read);
            let response = vec![1; payload];
            let mut events = Vec::new();
            let name = format!("{name}, {payload} B, {per_read} a read");
            group.bench_function(name, |bencher| {
                bencher.iter_batched(
                    connected,
                    |mut connection| {
                        let mut answered = 0;
                        for read in &reads {
                            let received = connection.receive(Duration::ZERO, read, &mut events);
                            assert_eq!(received, Ok(()));
                            answered += complete(&mut events, read, |stream| {
                                let sent = connection.respond_unary(stream, &[&response]);
                                assert_eq!(sent, Ok(true));
                            });
                            drain(&mut connection);
                        }
                        assert_eq!(answered, CALLS);
                        connection
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

/// The half of it before the answer: frames, headers, messages.
fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http2/request");
    group.throughput(Throughput::Elements(u64::from(CALLS)));
    for (name, style) in STYLES {
        let reads = calls(style, 256, 10);
        let mut events = Vec::new();
        group.bench_function(format!("{name}, 256 B"), |bencher| {
            bencher.iter_batched(
                connected,
                |mut connection| {
                    let mut taken = 0;
                    for read in &reads {
                        let received = connection.receive(Duration::ZERO, read, &mut events);
                        assert_eq!(received, Ok(()));
                        taken += complete(&mut events, read, |_| {});
                    }
                    assert_eq!(taken, CALLS);
                    connection
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A connection with one call whose answer is a stream.
fn watching() -> (Connection, StreamHandle) {
    let mut connection = connected();
    let mut encoder = Encoder::with_dynamic_size(4_096);
    let message = [0, 0, 0, 0, 1, 7];
    let request = [
        frame(1, 4, 1, &block(&mut encoder, Style::Indexed, 0)),
        frame(0, 0, 1, &message),
    ];
    let mut events = Vec::new();
    let received = connection.receive(Duration::ZERO, &request.concat(), &mut events);
    assert_eq!(received, Ok(()));
    let stream = events.iter().find_map(|event| match event {
        Event::Request { stream, .. } => Some(*stream),
        _ => None,
    });
    (connection, stream.unwrap())
}

/// Events of a watch: messages on a stream that stays open, ten before each write.
fn stream(criterion: &mut Criterion) {
    const PER_WRITE: u32 = 10;
    let mut group = criterion.benchmark_group("http2/message on a stream");
    group.throughput(Throughput::Elements(u64::from(CALLS)));
    for payload in [64, 400] {
        let message = vec![1; payload];
        group.bench_function(format!("{payload} B"), |bencher| {
            bencher.iter_batched(
                watching,
                |(mut connection, stream)| {
                    for number in 0..CALLS {
                        assert_eq!(connection.send_message(stream, &[&message]), Ok(true));
                        if number % PER_WRITE == PER_WRITE - 1 {
                            drain(&mut connection);
                        }
                    }
                    connection
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, unary, requests, stream);
criterion_main!(benches);
