//! The HTML report must stand alone: no external address in it, and a browser without a network
//! shows it whole. The browser part needs Chromium and is skipped, with a line, where there is none.

#![allow(clippy::unwrap_used)]

mod bench_fake;

use std::path::{Path, PathBuf};
use std::process::Command;

use bench_fake::{Fake, Fault};

fn report(directory: &Path) -> PathBuf {
    let server = Fake::start(Fault::None);
    let html = directory.join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_reeve-bench"))
        .args([
            "watch-latency",
            "--endpoints",
            &format!("http://{}", server.endpoint()),
        ])
        .args([
            "--duration",
            "2s",
            "--warm-up",
            "0s",
            "--html",
            html.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    html
}

fn chromium() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
}

#[test]
fn the_report_refers_to_nothing_outside() {
    let directory = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(report(directory.path())).unwrap();
    for mark in [
        "http:", "https:", "src=", "href=", "url(", "@import", "<link", "<script", "<img",
    ] {
        assert!(!text.contains(mark), "the report contains {mark:?}");
    }
    assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
    assert!(
        text.matches("<svg").count() >= 4,
        "rate, two latencies, percentiles"
    );
}

#[test]
fn a_browser_without_network_renders_the_report() {
    let Some(browser) = chromium() else {
        println!("skipped: no Chromium on this machine (Debian package chromium)");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let html = report(directory.path());
    let picture = directory.path().join("report.png");
    let address = format!("file://{}", html.display());
    let profile = format!(
        "--user-data-dir={}",
        directory.path().join("profile").display()
    );
    let screenshot = format!("--screenshot={}", picture.display());
    let browse = |extra: &[&str]| {
        // Every name fails to resolve, so nothing can be fetched.
        Command::new(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--proxy-server=127.0.0.1:1",
            ])
            .args(["--window-size=1040,2200", "--hide-scrollbars", &profile])
            .args(extra)
            .arg(&address)
            .output()
            .unwrap()
    };
    let output = browse(&[&screenshot]);
    let bytes = std::fs::read(&picture).unwrap_or_else(|error| {
        panic!(
            "no picture ({error}): {}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    assert_eq!(bytes.get(..4), Some(&b"\x89PNG"[..]));
    assert!(
        bytes.len() > 30_000,
        "the picture of {} bytes is nearly empty",
        bytes.len()
    );
    let dom = String::from_utf8_lossy(&browse(&["--dump-dom"]).stdout).into_owned();
    assert!(dom.contains("watch-latency") && dom.matches("<svg").count() >= 4);
    if let Ok(keep) = std::env::var("REEVE_KEEP_REPORT_PICTURE") {
        std::fs::copy(&picture, keep).unwrap();
    }
}
