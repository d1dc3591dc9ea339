//! The program as a user meets it: results, files, bad input, servers that fail.

#![allow(clippy::unwrap_used)]

mod bench_fake;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use bench_fake::{Fake, Fault};
use reeve_tools::bench::result::RunResult;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reeve-bench"))
        .args(arguments)
        .output()
        .unwrap()
}

fn read_result(path: &Path) -> RunResult {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_put_run_reports_what_it_did() {
    let directory = tempfile::tempdir().unwrap();
    let server = Fake::start(Fault::None);
    let json = directory.path().join("put.json");
    let log = directory.path().join("put.hlog");
    let output = bench(&[
        "put",
        "--endpoints",
        &server.endpoint(),
        "--conns",
        "4",
        "--clients",
        "40",
        "--threads",
        "2",
        "--total",
        "3001",
        "--val-size",
        "64:50,2048:50",
        "--json",
        json.to_str().unwrap(),
        "--hdr-log",
        log.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let result = read_result(&json);
    let put = &result.operations[0];
    assert_eq!((put.count, put.failures), (3001, 0));
    assert_eq!(result.server_versions, ["3.7.0-fake"]);
    let seen = put.latency_us;
    assert!(0.0 < seen.min && seen.min <= seen.p50 && seen.p50 <= seen.p99);
    assert!(seen.p99 <= seen.p999 && seen.p999 <= seen.max);
    // The fake server is this test's process, which listens on the endpoint.
    assert_eq!(result.servers[0].pid, std::process::id());
    assert!(result.generator.cpu_us_per_request > 0.0);
    assert_log_counts(&log, 3001);
}

/// The log must hold every value, readable by the format's own reader.
fn assert_log_counts(path: &Path, count: u64) {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let bytes = std::fs::read(path).unwrap();
    let mut seen = 0;
    for entry in IntervalLogIterator::new(&bytes) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let compressed = base64_decode(interval.encoded_histogram());
            let histogram: hdrhistogram::Histogram<u64> = Deserializer::new()
                .deserialize(&mut compressed.as_slice())
                .unwrap();
            assert_eq!(interval.tag().unwrap().as_str(), "put");
            seen += histogram.len();
        }
    }
    assert_eq!(seen, count);
}

fn base64_decode(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bits = 0u32;
    let mut count = 0;
    let mut out = Vec::new();
    for byte in text.bytes().filter(|&byte| byte != b'=') {
        bits = bits << 6 | u32::from(digit(byte));
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

#[test]
fn reads_are_loaded_and_find_their_keys() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("get.json");
    let server = Fake::start(Fault::None);
    let endpoint = server.endpoint();
    let common = [
        "--endpoints",
        &endpoint,
        "--key-space-size",
        "500",
        "--duration",
        "500ms",
    ];
    let output = bench(
        &[
            &["get", "--warm-up", "0s", "--json", json.to_str().unwrap()],
            &common[..],
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let result = read_result(&json);
    assert!(result.operations[0].count > 0);
    assert!(
        result.counters.is_empty(),
        "a get found no key: {:?}",
        result.counters
    );
    let output = bench(&[&["pages", "--limit", "100", "--pinned"], &common[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
}

#[test]
fn an_open_loop_counts_from_the_due_time() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("open.json");
    let server = Fake::start(Fault::None);
    let output = bench(&[
        "put",
        "--endpoints",
        &server.endpoint(),
        "--rate",
        "300",
        "--duration",
        "2s",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let result = read_result(&json);
    let count = result.operations[0].count;
    assert!((595..=605).contains(&count), "{count} puts in 2 s at 300/s");
    assert!(result.lateness_us.is_some());
}

#[test]
fn watch_events_reach_every_watcher() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("watch.json");
    let server = Fake::start(Fault::None);
    let shape = [
        "--watch-conns",
        "2",
        "--streams",
        "3",
        "--watch-per-stream",
        "1",
    ];
    let run = ["--total", "50", "--json", json.to_str().unwrap()];
    let endpoint = server.endpoint();
    let output = bench(&[&["watch", "--endpoints", &endpoint], &shape[..], &run[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let result = read_result(&json);
    assert_eq!(result.operations[0].count, 50);
    assert_eq!(
        result.operations[1].count,
        50 * 6,
        "each put reaches each watcher"
    );
}

#[test]
fn a_server_that_dies_leaves_a_partial_result() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("dies.json");
    let server = Fake::start(Fault::Dies);
    let output = bench(&[
        "put",
        "--endpoints",
        &server.endpoint(),
        "--duration",
        "30s",
        "--warm-up",
        "0s",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
    assert!(
        errors(&output).contains("ended early"),
        "{}",
        errors(&output)
    );
    let result = read_result(&json);
    assert!(result.ended_early.unwrap().contains("down for 5 s"));
    assert!(
        (400..=500).contains(&result.operations[0].count),
        "{}",
        result.operations[0].count
    );
    assert!(
        result.seconds < 15.0,
        "the run did not end when the server was gone"
    );
}

#[test]
fn refusals_are_counted_and_end_a_hopeless_run() {
    let server = Fake::start(Fault::Refuses);
    let output = bench(&[
        "put",
        "--endpoints",
        &server.endpoint(),
        "--duration",
        "20s",
    ]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        errors(&output).contains("every request fails"),
        "{}",
        errors(&output)
    );
    assert!(errors(&output).contains("database space exceeded"));
}

#[test]
fn bad_input_is_named_with_its_exit_code() {
    let server = Fake::start(Fault::None);
    let endpoint = server.endpoint();
    let (second, ignorant) = (Fake::start(Fault::None), Fake::start(Fault::Ignorant));
    let other = second.endpoint();
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["put", "--endpoints", "127.0.0.1:1"],
            2,
            "cannot connect to 127.0.0.1:1",
        ),
        (&["put", "--endpoints", "ftp://localhost:1"], 128, "scheme"),
        (&["put", "--endpoints", "localhost:port"], 128, "not a port"),
        (
            &["put", "--endpoints", &endpoint, "--conns", "0"],
            128,
            "at least 1",
        ),
        (
            &[
                "put",
                "--endpoints",
                &endpoint,
                "--conns",
                "4",
                "--clients",
                "2",
            ],
            128,
            "would idle",
        ),
        (
            &["put", "--endpoints", &endpoint, "--key-size", "4"],
            128,
            "too small",
        ),
        (
            &["put", "--endpoints", &endpoint, "--val-size", "big"],
            128,
            "not a size",
        ),
        (
            &["put", "--endpoints", &endpoint, "--rate", "5..1/1"],
            128,
            "FROM",
        ),
        (
            &[
                "put",
                "--endpoints",
                &endpoint,
                "--total",
                "5",
                "--rate",
                "1,2",
            ],
            128,
            "--duration",
        ),
        (
            &["put", "--endpoints", &endpoint, "--cert", "x"],
            128,
            "go together",
        ),
        (
            &[
                "pages",
                "--endpoints",
                &endpoint,
                "--revision-lag",
                "99999999",
            ],
            128,
            "not that many",
        ),
        (
            &["put", "--endpoints", &endpoint, "--target-leader"],
            128,
            "none of the endpoints is the leader's",
        ),
        (
            &["put", "--endpoints", &endpoint, "--timeout", "0s"],
            128,
            "above zero",
        ),
        (
            &["put", "--endpoints", &endpoint, "--rate", "-5"],
            128,
            "out of range",
        ),
        (
            &["put", "--endpoints", &endpoint, "--json", "/nonexistent/x"],
            6,
            "/nonexistent/x",
        ),
        (
            &[
                "put",
                "--endpoints",
                &endpoint,
                "--rate",
                "1,2",
                "--hdr-log",
                "x",
            ],
            128,
            "--hdr-log",
        ),
        (
            &["put", "--endpoints", &format!("{endpoint},{other}")],
            128,
            "different clusters",
        ),
        (
            &["put", "--endpoints", &ignorant.endpoint()],
            2,
            "no etcd v3 server",
        ),
        (
            &["compare", &endpoint, &endpoint, "put", "--hdr-log", "x"],
            128,
            "--hdr-log",
        ),
        (
            &["mix", "/nonexistent.toml", "--endpoints", &endpoint],
            6,
            "/nonexistent.toml",
        ),
        (&["explode"], 128, "unrecognized"),
        (
            &["compare", &endpoint, &endpoint, "--rounds", "0", "put"],
            128,
            "--rounds",
        ),
        (
            &["compare", &endpoint, &endpoint, "verify"],
            128,
            "only a workload",
        ),
        (
            &["verify", "--endpoints", &endpoint, "--keys", "0"],
            128,
            "at least 1",
        ),
    ];
    for (arguments, code, text) in cases {
        let output = bench(arguments);
        assert_eq!(
            output.status.code(),
            Some(*code),
            "{arguments:?}: {}",
            errors(&output)
        );
        assert!(
            errors(&output).contains(text),
            "{arguments:?}: {}",
            errors(&output)
        );
    }
}

#[test]
fn what_speaks_no_http2_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 1024]);
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let output = bench(&["put", "--endpoints", &endpoint]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        errors(&output).contains("does not speak HTTP/2"),
        "{}",
        errors(&output)
    );
}

#[test]
fn tls_and_users_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let cacert = directory.path().join("ca.pem");
    std::fs::write(&cacert, certified.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let server = Fake::start_with(
        Fault::None,
        Some(("root", "pass:word")),
        Some(Arc::new(config)),
    );
    let endpoint = format!("https://localhost:{}", server.port);
    let put = [
        "put",
        "--endpoints",
        &endpoint,
        "--total",
        "200",
        "--clients",
        "5",
    ];
    let ca = ["--cacert", cacert.to_str().unwrap()];
    let user = ["--user", "root:pass:word"];
    let output = bench(&[&put[..], &ca, &user].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let output = bench(&[&put[..], &["--insecure-skip-tls-verify"], &user].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let output = bench(&[&put[..], &user].concat());
    assert_eq!(output.status.code(), Some(2), "an unknown CA was accepted");
    assert!(
        errors(&output).contains("certificate"),
        "{}",
        errors(&output)
    );
    let output = bench(&[&put[..], &ca, &["--user", "root:wrong"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let output = bench(&[&put[..], &ca].concat());
    assert_eq!(output.status.code(), Some(1), "no user was needed");
    assert!(errors(&output).contains("--user"), "{}", errors(&output));
}

#[test]
fn two_servers_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("compare.json");
    let (a, b) = (Fake::start(Fault::None), Fake::start(Fault::None));
    let output = bench(&[
        "compare",
        &a.endpoint(),
        &b.endpoint(),
        "--rounds",
        "3",
        "--compare-json",
        json.to_str().unwrap(),
        "put",
        "--total",
        "300",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("B / A") && text.contains("3 rounds"),
        "{text}"
    );
    let comparison: reeve_tools::bench::compare::Comparison =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(comparison.rounds.len(), 3);
    assert!(
        comparison
            .figures
            .iter()
            .all(|figure| figure.ratio.1 <= figure.ratio.2)
    );
}
