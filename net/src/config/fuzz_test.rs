//! Arbitrary text as a configuration file, as arguments, and as URLs and durations.

use super::{Url, duration, file, load};
use crate::fuzz;
use std::collections::BTreeMap;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn fuzz_file() {
    let seeds = [
        "name: a\ndata-dir: b\nlisten-client-urls: http://127.0.0.1:1,unix://x\n",
        "quota-backend-bytes: 12\nclient-transport-security:\n  cert-file: x\nlog-level: debug\n",
        "a: &x [1, {b: *x}]\n? [c]\n: |\n  text\n",
    ]
    .map(|text| text.as_bytes().to_vec());
    fuzz::run("configuration file", &seeds, |bytes| {
        u64::from(file::apply(&text(bytes)).is_ok())
    });
}

#[test]
fn fuzz_arguments() {
    let seeds = [
        "--name=a\n-data-dir\nb\n--max-txn-ops=128",
        "--listen-client-urls=http://[::1]:2379,https://a.b:1\n--advertise-client-urls=http://a:1",
        "--initial-cluster=a=http://127.0.0.1:2380\n--heartbeat-interval=100\n--reactors=2",
        "--help\n--version",
    ]
    .map(|text| text.as_bytes().to_vec());
    fuzz::run("arguments", &seeds, |bytes| {
        let arguments: Vec<String> = text(bytes)
            .lines()
            // Files of the machine are none of the fuzzer's business.
            .filter(|line| !line.contains("config-file"))
            .map(str::to_owned)
            .collect();
        u64::from(load(&arguments, &BTreeMap::new()).is_ok())
    });
}

#[test]
fn fuzz_url_and_duration() {
    let seeds = [
        "http://127.0.0.1:2379",
        "https://[fe80::1]:1/path",
        "unix:///tmp/x:0",
        "1h2m3.5s",
        "-9223372036854775808ns",
    ]
    .map(|text| text.as_bytes().to_vec());
    fuzz::run("url and duration", &seeds, |bytes| {
        let text = text(bytes);
        let url = Url::parse(&text);
        if let Ok(url) = &url {
            let again = Url::parse(&url.to_string());
            assert_eq!(again.as_ref(), Ok(url), "{text:?} is shown as another URL");
        }
        u64::from(url.is_ok()) + 2 * u64::from(duration::parse_duration(&text).is_ok())
    });
}
