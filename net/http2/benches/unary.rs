//! What one unary call costs in this layer: the bytes of a client in, the events handled, the bytes of the response out.
#![allow(missing_docs, reason = "criterion makes public functions")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use httlib_hpack::Encoder;
use reeve_http2::{Config, Connection, Event};
use std::{hint::black_box, time::Duration};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Calls that arrive with one read.
const STREAMS: u32 = 10;
/// Calls per connection.
const CALLS: u32 = 2_000;

/// How a client writes the headers of its calls.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// Everything in the table: grpc-go, h2load.
    Indexed,
    /// The path as a literal in each request: Rust's h2.
    LiteralPath,
    /// Besides, a deadline that differs each time and enters the table: grpc-go with timeouts.
    Timeouts,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn block(encoder: &mut Encoder<'_>, style: Style, call: u32) -> Vec<u8> {
    const REMEMBERED: u8 = Encoder::BEST_FORMAT
        | Encoder::WITH_INDEXING
        | Encoder::HUFFMAN_NAME
        | Encoder::HUFFMAN_VALUE;
    let path_flags = match style {
        Style::LiteralPath => REMEMBERED & !Encoder::WITH_INDEXING,
        _ => REMEMBERED,
    };
    let timeout = format!("{}u", 1_000_000 - call);
    let mut fields = vec![
        (":method", "POST", REMEMBERED),
        (":scheme", "http", REMEMBERED),
        (":path", "/etcdserverpb.KV/Range", path_flags),
        (":authority", "127.0.0.1:2379", REMEMBERED),
        ("content-type", "application/grpc", REMEMBERED),
        ("user-agent", "grpc-go/1.79.0", REMEMBERED),
        ("te", "trailers", REMEMBERED),
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

/// What a client sends, read by read: the handshake, then `STREAMS` calls at a time.
fn capture(style: Style, payload: usize) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::with_dynamic_size(4_096);
    let message = [&[0][..], &(payload as u32).to_be_bytes(), &vec![7; payload]].concat();
    let window = 1_u32 << 30;
    let wide = [&[0, 4][..], &window.to_be_bytes()].concat();
    let hello = [
        PREFACE.to_vec(),
        frame(4, 0, 0, &wide),
        frame(8, 0, 0, &window.to_be_bytes()),
    ]
    .concat();
    let mut reads = vec![hello];
    for turn in 0..CALLS / STREAMS {
        let mut read = Vec::new();
        for call in turn * STREAMS..(turn + 1) * STREAMS {
            let stream = 2 * call + 1;
            read.extend(frame(1, 4, stream, &block(&mut encoder, style, call)));
            read.extend(frame(0, 1, stream, &message));
        }
        reads.push(read);
    }
    reads
}

/// Answers all complete calls; returns how many.
fn answer(connection: &mut Connection, events: &mut Vec<Event>, message: &[u8]) -> u32 {
    let mut answered = 0;
    for event in events.drain(..) {
        if let Event::Data {
            stream,
            end_stream: true,
            piece,
        } = event
        {
            black_box(piece);
            assert_eq!(connection.respond_unary(stream, &[message]), Ok(true));
            answered += 1;
        }
    }
    let output = connection.output();
    black_box(output.first_slice());
    output.written(output.len());
    answered
}

fn unary(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unary");
    group.throughput(Throughput::Elements(u64::from(CALLS)));
    let styles = [
        ("indexed", Style::Indexed),
        ("literal_path", Style::LiteralPath),
        ("timeouts", Style::Timeouts),
    ];
    for (name, style) in styles {
        for payload in [0, 256] {
            let reads = capture(style, payload);
            let response = vec![1; payload];
            let mut events = Vec::new();
            group.bench_function(format!("{name}/{payload}"), |bencher| {
                bencher.iter_batched(
                    || Connection::new(Config::default(), Duration::ZERO),
                    |mut connection| {
                        let mut answered = 0;
                        for read in &reads {
                            let result = connection.receive(Duration::ZERO, read, &mut events);
                            assert_eq!(result, Ok(()));
                            answered += answer(&mut connection, &mut events, &response);
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

criterion_group!(benches, unary);
criterion_main!(benches);
