//! HTTP/2 that breaks the rules, in form or in amount. Each attack ends with its connection closed or refused; the server
//! goes on, another client is served all the while, and the memory that the attack costs stays small.

use std::time::Duration;

use crate::support::honest::Honest;
use crate::support::http2::*;
use crate::support::process::resident_bytes;
use crate::support::programs::only_for_reeve;
use crate::support::random::Random;
use crate::support::server::{Launch, Server};
use crate::support::turn;

/// How long the server may take to close a connection that has broken the rules.
const CLOSE_PATIENCE: Duration = Duration::from_secs(30);
/// How much the memory may grow over all attacks (reliability goals, D16).
const MEMORY: u64 = 64 << 20;
const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";

/// What an attack sends.
type Sending = fn(&mut Connection);

/// One attack over one connection.
struct Attack {
    name: &'static str,
    /// Whether the rules demand that the connection ends; else it may go on.
    fatal: bool,
    run: Sending,
}

const ATTACKS: &[Attack] = &[
    Attack {
        name: "data on stream 0",
        fatal: true,
        run: |connection| {
            connection.send(&frame(DATA, 0, 0, b"data"));
        },
    },
    Attack {
        name: "headers on an even stream",
        fatal: true,
        run: |connection| {
            connection.send(&frame(HEADERS, END_HEADERS, 2, &call_headers(RANGE)));
        },
    },
    Attack {
        name: "a stream older than the last",
        fatal: true,
        run: |connection| {
            connection.send(&frame(HEADERS, END_HEADERS, 9, &call_headers(RANGE)));
            connection.send(&frame(HEADERS, END_HEADERS, 3, &call_headers(RANGE)));
        },
    },
    Attack {
        name: "a frame longer than allowed",
        fatal: true,
        run: |connection| {
            connection.send(&frame(HEADERS, END_HEADERS, 1, &call_headers(PUT)));
            connection.send(&frame(DATA, 0, 1, &vec![0; 1 << 20]));
        },
    },
    Attack {
        name: "settings of a wrong length",
        fatal: true,
        run: |connection| {
            connection.send(&frame(SETTINGS, 0, 0, b"12345"));
        },
    },
    Attack {
        name: "settings with a wrong window",
        fatal: true,
        run: |connection| {
            connection.send(&frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]));
        },
    },
    Attack {
        name: "a ping of a wrong length",
        fatal: true,
        run: |connection| {
            connection.send(&frame(PING, 0, 0, b"1234"));
        },
    },
    Attack {
        name: "a promise from a client",
        fatal: true,
        run: |connection| {
            connection.send(&frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]));
        },
    },
    Attack {
        name: "a continuation of nothing",
        fatal: true,
        run: |connection| {
            connection.send(&frame(CONTINUATION, END_HEADERS, 1, &call_headers(RANGE)));
        },
    },
    Attack {
        name: "another frame inside a header block",
        fatal: true,
        run: |connection| {
            connection.send(&frame(HEADERS, 0, 1, &call_headers(RANGE)));
            connection.send(&frame(PING, 0, 0, b"12345678"));
        },
    },
    Attack {
        name: "a window beyond its limit",
        fatal: true,
        run: |connection| {
            let most = 0x7fff_ffff_u32.to_be_bytes();
            connection.send(&frame(WINDOW_UPDATE, 0, 0, &most));
            connection.send(&frame(WINDOW_UPDATE, 0, 0, &most));
        },
    },
    Attack {
        name: "padding longer than the frame",
        fatal: true,
        run: |connection| {
            connection.send(&frame(HEADERS, END_HEADERS, 1, &call_headers(PUT)));
            connection.send(&frame(DATA, PADDED, 1, &[200, 1, 2, 3]));
        },
    },
    Attack {
        name: "a header index that does not exist",
        fatal: true,
        run: |connection| {
            connection.send(&frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x7f]));
        },
    },
    Attack {
        name: "a header integer without end",
        fatal: true,
        run: |connection| {
            connection.send(&frame(HEADERS, END_HEADERS, 1, &[0xff; 64]));
        },
    },
    Attack {
        name: "a header table of 4 GB",
        fatal: true,
        run: |connection| {
            connection.send(&frame(
                HEADERS,
                END_HEADERS,
                1,
                &[0x3f, 0xe0, 0xff, 0xff, 0xff, 0x0f],
            ));
        },
    },
    Attack {
        name: "a flood of continuations",
        fatal: true,
        run: |connection| {
            connection.send(&frame(HEADERS, 0, 1, &call_headers(RANGE)));
            let field = header_block(&[("x-filler", &"x".repeat(16_000))]);
            let more = frame(CONTINUATION, 0, 1, &field);
            (0..10_000).all(|_| connection.send(&more));
        },
    },
    Attack {
        name: "a flood of empty continuations",
        fatal: true,
        run: |connection| {
            connection.send(&frame(HEADERS, 0, 1, &call_headers(RANGE)));
            let more = frame(CONTINUATION, 0, 1, &[]).repeat(1000);
            (0..1000).all(|_| connection.send(&more));
        },
    },
    Attack {
        name: "many small references to one large header",
        fatal: false,
        run: |connection| {
            // A literal that enters the table, then its index again and again (the HPACK bomb).
            let mut block = call_headers(RANGE);
            block.extend_from_slice(&[0x40, 1, b'x', 127, 0x81, 0x1e]);
            block.extend(std::iter::repeat_n(b'x', 127 + 0x81 - 128 + 0x1e * 128));
            block.extend(std::iter::repeat_n(0xbe, 10_000));
            connection.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        },
    },
    Attack {
        name: "rapid resets",
        fatal: false,
        run: |connection| {
            for stream in (1..200_000).step_by(2) {
                let mut frames = frame(HEADERS, END_HEADERS, stream, &call_headers(RANGE));
                frames.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
                if !connection.send(&frames) {
                    return;
                }
            }
        },
    },
    Attack {
        name: "a flood of pings whose answers nobody reads",
        fatal: false,
        run: |connection| {
            let pings = frame(PING, 0, 0, b"12345678").repeat(1000);
            (0..2000).all(|_| connection.send(&pings));
        },
    },
    Attack {
        name: "a flood of settings whose answers nobody reads",
        fatal: false,
        run: |connection| {
            let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(1000);
            (0..2000).all(|_| connection.send(&settings));
        },
    },
    Attack {
        name: "a flood of empty data",
        fatal: false,
        run: |connection| {
            connection.send(&frame(HEADERS, END_HEADERS, 1, &call_headers(PUT)));
            let data = frame(DATA, 0, 1, &[]).repeat(1000);
            (0..1000).all(|_| connection.send(&data));
        },
    },
    Attack {
        name: "a message of 4 GB announced",
        fatal: false,
        run: |connection| {
            connection.send(&frame(HEADERS, END_HEADERS, 1, &call_headers(PUT)));
            connection.send(&frame(DATA, 0, 1, &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]));
        },
    },
    Attack {
        name: "a compressed message without an encoding",
        fatal: false,
        run: |connection| {
            connection.send(&frame(HEADERS, END_HEADERS, 1, &call_headers(PUT)));
            connection.send(&frame(DATA, END_STREAM, 1, &[1, 0, 0, 0, 1, 0]));
        },
    },
    Attack {
        name: "a call without a path",
        fatal: false,
        run: |connection| {
            let block = header_block(&[(":method", "POST"), (":scheme", "http")]);
            connection.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        },
    },
    Attack {
        name: "a call that is not gRPC",
        fatal: false,
        run: |connection| {
            let block = header_block(&[
                (":method", "POST"),
                (":scheme", "http"),
                (":path", RANGE),
                (":authority", "localhost"),
                ("content-type", "text/plain"),
            ]);
            connection.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        },
    },
    Attack {
        name: "100 calls whose answers nobody reads",
        fatal: false,
        run: |connection| {
            // A window of zero bytes for every answer; the key holds a megabyte.
            connection.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
            for stream in (1..200).step_by(2) {
                connection.send(&frame(HEADERS, END_HEADERS, stream, &call_headers(RANGE)));
                let request = message(b"\x0a\x05large");
                connection.send(&frame(DATA, END_STREAM, stream, &request));
            }
        },
    },
];

/// Attacks that are no HTTP/2 at all.
const GARBAGE: &[(&str, Sending)] = &[
    ("random bytes", |connection| {
        let bytes = Random::new(1).bytes(1 << 20);
        connection.send(&bytes);
    }),
    ("a preface and random bytes", |connection| {
        connection.send(PREFACE);
        let bytes = Random::new(2).bytes(1 << 20);
        connection.send(&bytes);
    }),
    ("zeros", |connection| {
        connection.send(&vec![0; 1 << 20]);
    }),
    ("an HTTP/1.1 header without end", |connection| {
        connection.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Filler: ");
        let more = vec![b'x'; 1 << 16];
        (0..1024).all(|_| connection.send(&more));
    }),
    ("HTTP/1.1 headers without number", |connection| {
        connection.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n");
        let more = b"X-Filler: x\r\n".repeat(1000);
        (0..5000).all(|_| connection.send(&more));
    }),
    ("HTTP/1.1 to nowhere", |connection| {
        connection.send(b"BREW /pot HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    }),
    ("a TLS greeting", |connection| {
        connection.send(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
        connection.send(&[7; 505]);
    }),
];

fn server_with_a_large_value() -> Server {
    let server = Launch::under_test().start();
    crate::support::run(async {
        let mut client = crate::support::grpc::Client::connect(&server.endpoint()).await;
        client
            .put(b"large", &vec![b'v'; 1 << 20])
            .await
            .expect("a put");
    });
    server
}

#[test]
fn wrong_frames() {
    let _turn = turn::alone();
    // etcd lets some of these connections live.
    if !only_for_reeve("wrong_frames") {
        return;
    }
    let mut server = server_with_a_large_value();
    let honest = Honest::start(server.endpoint());
    let before = resident_bytes(server.pid());
    let mut wrong = Vec::new();
    let mut left_open = Vec::new();
    for attack in ATTACKS {
        let mut connection = Connection::open(&server.endpoint());
        (attack.run)(&mut connection);
        let patience = if attack.fatal {
            CLOSE_PATIENCE
        } else {
            Duration::from_millis(300)
        };
        let end = connection.drain(patience);
        if attack.fatal && end == End::Open {
            wrong.push(format!("{}: the connection goes on", attack.name));
        }
        assert!(
            server.lives(),
            "{} ended the server:\n{}",
            attack.name,
            server.printed()
        );
        let grown = resident_bytes(server.pid()).saturating_sub(before);
        if grown > MEMORY {
            wrong.push(format!(
                "{}: memory has grown by {grown} bytes",
                attack.name
            ));
        }
        // Connections that may go on do so until the end.
        left_open.push(connection);
    }
    let seen = honest.finish();
    if seen.slowest > Duration::from_secs(20) {
        wrong.push(format!("another client waited: {seen:?}"));
    }
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        server.printed()
    );
}

#[test]
fn what_is_no_http_at_all() {
    let _turn = turn::alone();
    // etcd lets some of these connections live.
    if !only_for_reeve("what_is_no_http_at_all") {
        return;
    }
    let mut server = Launch::under_test().start();
    let honest = Honest::start(server.endpoint());
    let before = resident_bytes(server.pid());
    let mut wrong = Vec::new();
    for (name, attack) in GARBAGE {
        let mut connection = Connection::bare(&server.endpoint());
        attack(&mut connection);
        if connection.drain(CLOSE_PATIENCE) == End::Open {
            wrong.push(format!("{name}: the connection goes on"));
        }
        assert!(
            server.lives(),
            "{name} ended the server:\n{}",
            server.printed()
        );
        let grown = resident_bytes(server.pid()).saturating_sub(before);
        if grown > MEMORY {
            wrong.push(format!("{name}: memory has grown by {grown} bytes"));
        }
    }
    honest.finish();
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        server.printed()
    );
}
