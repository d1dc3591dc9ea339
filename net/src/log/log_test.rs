//! Tests of the format.

use super::{
    line::{Format, Level, format},
    value::{LogValue, Shown},
};
use std::time::{Duration, SystemTime};

fn line(shape: Format, fields: &[(&str, &dyn LogValue)]) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_247_356_588_343);
    format(
        shape,
        Level::Warn,
        time,
        "net/src/config/flags.rs:86",
        "a \"b\"",
        fields,
    )
}

#[test]
fn json_lines_have_etcds_keys() {
    let fields: [(&str, &dyn LogValue); 5] = [
        ("error", &Shown("x\n\u{1}")),
        ("count", &7_u64),
        ("urls", &vec!["http://a:1", "http://b:2"]),
        ("took", &Duration::from_millis(1500)),
        ("ok", &true),
    ];
    let expected = concat!(
        r#"{"level":"warn","ts":"2026-11-21T07:49:16.588343Z","caller":"config/flags.rs:86","#,
        r#""msg":"a \"b\"","error":"x\n\u0001","count":7,"urls":["http://a:1","http://b:2"],"#,
        r#""took":"1.5s","ok":true}"#,
        "\n"
    );
    let line = line(Format::Json, &fields);
    assert_eq!(line, expected);
    let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(parsed["error"], "x\n\u{1}");
}

#[test]
fn console_lines_have_columns() {
    let line = line(Format::Console, &[("n", &1_u32), ("m", &"x")]);
    let expected =
        "2026-11-21T07:49:16.588343Z\twarn\tconfig/flags.rs:86\ta \"b\"\t{\"n\":1, \"m\":\"x\"}\n";
    assert_eq!(line, expected);
}

#[test]
fn dates_agree_with_another_implementation() {
    for days in (0..60_000).step_by(13) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + 3_723);
        let mut text = String::new();
        super::timestamp::push(&mut text, time);
        let http = httpdate::fmt_http_date(time);
        let parts: Vec<&str> = http
            .split([' ', ','])
            .filter(|part| !part.is_empty())
            .collect();
        let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let month = months.find(parts[2]).unwrap() / 3 + 1;
        let expected = format!("{}-{month:02}-{}T{}.000000Z", parts[3], parts[1], parts[4]);
        assert_eq!(text, expected);
    }
}

#[test]
fn levels_and_formats_are_parsed() {
    assert_eq!("warn".parse(), Ok(Level::Warn));
    assert!(
        "xx".parse::<Level>()
            .unwrap_err()
            .contains("unrecognized level")
    );
    assert_eq!("console".parse(), Ok(Format::Console));
    assert!("text".parse::<Format>().is_err());
    assert!(Level::Debug < Level::Info && Level::Error < Level::Fatal);
}
