//! Tests of flags, environment, file and rules.

use super::{
    defaults::{ClusterState, Config},
    duration::{format_duration, parse_duration},
    flags::{Kind, SECTIONS},
    load::{ConfigError, Outcome, load, without_secrets},
    security::TlsVersion,
    url::{Scheme, Url},
};
use crate::log::Level;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

fn with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Outcome, ConfigError> {
    let arguments: Vec<String> = arguments
        .iter()
        .map(|&argument| argument.to_owned())
        .collect();
    let pair = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    load(
        &arguments,
        &environment.iter().map(pair).collect::<BTreeMap<_, _>>(),
    )
}

fn config(arguments: &[&str]) -> Config {
    match with(arguments, &[]).unwrap() {
        Outcome::Run(loaded) => loaded.config,
        other => panic!("{other:?}"),
    }
}

fn usage(arguments: &[&str]) -> String {
    match with(arguments, &[]).unwrap_err() {
        ConfigError::Usage(text) => text,
        other => panic!("{other:?}"),
    }
}

fn invalid(arguments: &[&str]) -> String {
    match with(arguments, &[]).unwrap_err() {
        ConfigError::Invalid(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_configuration() {
    let mut from_table = Config::default();
    let mut names = Vec::new();
    for flag in SECTIONS.iter().flat_map(|(_, flags)| *flags) {
        names.push(flag.name);
        if flag.name != "data-dir" && !matches!(flag.kind, Kind::Special | Kind::Ignored) {
            flag.set(&mut from_table, flag.default).unwrap();
        }
    }
    from_table.given.clear();
    assert_eq!(from_table, Config::default());
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a flag stands twice in the table");
}

#[test]
fn go_syntax() {
    let config = config(&[
        "-name",
        "a",
        "--max-txn-ops=0x10",
        "--pre-vote=false",
        "-data-dir=d",
    ]);
    assert_eq!(
        (&*config.name, config.max_txn_ops, config.pre_vote),
        ("a", 16, false)
    );
    assert_eq!(config.data_directory(), PathBuf::from("d"));
    assert_eq!(config.initial_cluster, "a=http://localhost:2380");
    assert_eq!(
        Config::default().data_directory(),
        PathBuf::from("default.etcd")
    );
    assert_eq!(usage(&["--nope"]), "flag provided but not defined: -nope");
    assert_eq!(
        usage(&["--max-txn-ops=abc"]),
        bad("abc", "max-txn-ops", "parse error")
    );
    assert_eq!(
        usage(&["--max-txn-ops", "-1"]),
        bad("-1", "max-txn-ops", "parse error")
    );
    let huge = "99999999999";
    let expected = bad(huge, "max-concurrent-streams", "value out of range");
    assert_eq!(usage(&["--max-concurrent-streams", huge]), expected);
    let maybe = "invalid boolean value \"maybe\" for -strict-reconfig-check: parse error";
    assert_eq!(usage(&["--strict-reconfig-check=maybe"]), maybe);
    assert_eq!(usage(&["--name"]), "flag needs an argument: -name");
    assert_eq!(usage(&["---x"]), "bad flag syntax: ---x");
    assert_eq!(
        usage(&["--log-level=xx"]),
        bad("xx", "log-level", "unrecognized level: \"xx\"")
    );
    let state = bad("foo", "initial-cluster-state", "invalid value");
    assert_eq!(usage(&["--initial-cluster-state=foo"]), state);
    assert_eq!(invalid(&["foo"]), "\"foo\" is not a valid flag");
    assert_eq!(
        invalid(&["--pre-vote", "false"]),
        "\"false\" is not a valid flag"
    );
}

fn bad(value: &str, flag: &str, reason: &str) -> String {
    format!("invalid value {value:?} for flag -{flag}: {reason}")
}

#[test]
fn flags_of_later_versions_accept_only_their_default() {
    config(&["--logger=zap", "--enable-pprof=false", "--snapshot=1"]);
    assert!(usage(&["--cert-file=x"]).contains("not supported yet"));
    assert!(usage(&["--auto-tls"]).contains("not supported yet"));
}

#[test]
fn checks_of_the_members_states_are_configured() {
    let read = config(&[
        "--feature-gates=CompactHashCheck=true",
        "--feature-gates",
        "InitialCorruptCheck=1",
        "--compact-hash-check-time=2s",
        "--corrupt-check-time=3s",
    ]);
    assert!(read.feature_gates.initial_corrupt_check && read.feature_gates.compact_hash_check);
    assert_eq!(read.compact_hash_check_time, Duration::from_secs(2));
    assert_eq!(read.corrupt_check_time, Duration::from_secs(3));
    assert_eq!(
        usage(&["--feature-gates=X=true"]),
        bad("X=true", "feature-gates", "unrecognized feature gate: X")
    );
    assert_eq!(
        invalid(&["--compact-hash-check-time=0s"]),
        "--compact-hash-check-time must be >0 (set to 0s)"
    );
}

#[test]
fn tls_between_members_is_configured() {
    let read = config(&[
        "--listen-peer-urls=https://127.0.0.1:2380",
        "--peer-cert-file=c",
        "--peer-key-file=k",
        "--peer-trusted-ca-file=a",
        "--peer-client-cert-auth",
        "--peer-cert-allowed-cn=x, y,",
        "--peer-skip-client-san-verification",
        "--cipher-suites=A,B",
        "--self-signed-cert-validity=3",
    ]);
    let security = &read.peer_transport_security;
    assert_eq!(security.cert_file, PathBuf::from("c"));
    assert_eq!(security.allowed_names, ["x", "y"]);
    assert!(security.client_cert_auth && security.skip_client_address_check);
    assert_eq!(read.cipher_suites, ["A", "B"]);
    assert_eq!(read.self_signed_cert_validity, 3);
    assert_eq!(
        read.tls_versions(),
        Ok((TlsVersion::Tls12, TlsVersion::Tls13))
    );
    for (arguments, text) in [
        (
            &["--tls-min-version=x"][..],
            "unexpected TLS version \"x\" (must be one of: TLS1.2, TLS1.3)",
        ),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (
            &["--tls-min-version=TLS1.3", "--cipher-suites=A"],
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        ),
        (
            &[
                "--listen-client-urls=https://127.0.0.1:1",
                "--advertise-client-urls=https://a:1",
            ],
            "TLS for clients is not supported yet (https://127.0.0.1:1 in --listen-client-urls)",
        ),
    ] {
        assert_eq!(invalid(arguments), text);
    }
}

#[test]
fn printing_ends_without_a_server() {
    let Ok(Outcome::Print { stdout, .. }) = with(&["--version"], &[]) else {
        panic!()
    };
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "etcd Version: 3.7.3");
    assert!(lines[4].starts_with("Reeve Version: "));
    let Ok(Outcome::Print { stdout, stderr }) = with(&["-h"], &[]) else {
        panic!()
    };
    assert!(stdout.contains("--max-txn-ops '128'") && stderr.starts_with("Usage:"));
}

#[test]
fn the_environment_stands_in_for_flags() {
    let environment = [
        ("ETCD_NAME", "b"),
        ("ETCD_WHAT", "1"),
        ("HOME", "/"),
        ("ETCD_WAL_DIR", ""),
    ];
    let Ok(Outcome::Run(loaded)) = with(&["--max-txn-ops=5"], &environment) else {
        panic!()
    };
    assert_eq!((&*loaded.config.name, loaded.config.max_txn_ops), ("b", 5));
    let warned = loaded
        .notices
        .iter()
        .filter(|notice| notice.level == Level::Warn);
    let warned: Vec<&str> = warned.map(|notice| &*notice.message).collect();
    assert_eq!(warned, ["unrecognized environment variable"]);
    let conflict = with(&["--name", "a"], &environment).unwrap_err();
    assert_eq!(conflict, ConfigError::Conflict("ETCD_NAME".to_owned()));
    let bad = with(&[], &[("ETCD_MAX_TXN_OPS", "x")]).unwrap_err();
    let text = "invalid value \"x\" for ETCD_MAX_TXN_OPS: parse error";
    assert_eq!(bad, ConfigError::Invalid(text.to_owned()));
}

#[test]
fn rules_have_etcds_texts() {
    for (arguments, text) in [
        (
            &["--listen-client-urls=http://foo:1"][..],
            "expected IP in URL for binding (http://foo:1)",
        ),
        (
            &["--listen-client-urls=http://127.0.0.1:1"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            &["--heartbeat-interval=300"],
            "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[300ms]",
        ),
        (
            &["--election-timeout=60000"],
            "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
        ),
        (
            &["--heartbeat-interval=0"],
            "--heartbeat-interval must be >0 (set to 0ms)",
        ),
        (
            &["--max-request-bytes=32505857"],
            "--max-request-bytes 32505857 is too large: the log takes requests of up to 32505856 bytes (31 MiB)",
        ),
        (
            &["--advertise-client-urls=http://:2379"],
            "--advertise-client-urls \"http://:2379\" must be in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" (unexpected empty host (http://:2379))",
        ),
    ] {
        assert_eq!(invalid(arguments), text);
    }
}

#[test]
fn urls_are_checked() {
    for (text, error) in [
        (
            "localhost:1",
            "URL scheme must be http, https, unix, or unixs: localhost:1",
        ),
        (
            "http://a",
            "URL address does not have the form \"host:port\": http://a",
        ),
        ("http://a:1/x", "URL must not contain a path: http://a:1/x"),
        (
            "http://a:b",
            "parse \"http://a:b\": invalid port \":b\" after host",
        ),
        (
            "http://::1:1",
            "URL address does not have the form \"host:port\": http://::1:1",
        ),
    ] {
        assert_eq!(Url::parse(text).unwrap_err(), error);
    }
    let six = Url::parse("https://[::1]:2379").unwrap();
    assert_eq!(
        (six.scheme, &*six.host, six.port),
        (Scheme::Https, "::1", Some(2379))
    );
    assert_eq!(
        Url::parse("unix:///tmp/x.sock").unwrap().path,
        PathBuf::from("/tmp/x.sock")
    );
    let list = Url::parse_list("http://b:1,http://a:1, http://b:1").unwrap();
    assert_eq!(
        list.iter().map(Url::to_string).collect::<Vec<_>>(),
        ["http://a:1", "http://b:1"]
    );
}

#[test]
fn a_port_that_is_too_large_is_refused_only_where_it_is_listened_on() {
    let url = "http://127.0.0.1:99999";
    config(&[&format!("--advertise-client-urls={url}")]);
    assert_eq!(
        invalid(&[&format!("--listen-peer-urls={url}")]),
        format!("listen {url}: invalid port")
    );
}

#[test]
fn only_a_fresh_member_needs_sensible_initial_flags() {
    let check = |arguments: &[&str], fresh| config(arguments).check_bootstrap(fresh);
    let several = "--initial-cluster=default=http://localhost:2380,other=http://b:1";
    let elsewhere = "--initial-cluster=other=http://b:1";
    let existing = "--initial-cluster-state=existing";
    for arguments in [&[several][..], &[several, existing]] {
        assert_eq!(check(arguments, true), Ok(()));
    }
    for arguments in [&[elsewhere][..], &[elsewhere, existing]] {
        let refused = check(arguments, true).unwrap_err();
        assert!(
            refused.starts_with("couldn't find local name \"default\""),
            "{refused}"
        );
        assert_eq!(check(arguments, false), Ok(()));
    }
    for fresh in [false, true] {
        let refused = check(&["--initial-cluster=nonsense"], fresh).unwrap_err();
        assert!(
            refused.starts_with("error setting up initial cluster: "),
            "{refused}"
        );
        assert_eq!(check(&[], fresh), Ok(()));
    }
}

#[test]
fn a_new_cluster_is_checked() {
    let verify = |arguments: &[&str]| config(arguments).verify_bootstrap();
    assert_eq!(verify(&[]).unwrap().len(), 1);
    let cluster = "--initial-cluster=a=http://localhost:2380,b=http://x:1,b=http://w:1";
    let members = verify(&["--name=a", cluster]).unwrap();
    assert_eq!(members["b"][0].to_string(), "http://w:1");
    assert_eq!(
        verify(&["--name=c", cluster]).unwrap_err(),
        "couldn't find local name \"c\" in the initial cluster configuration"
    );
    assert_eq!(
        verify(&["--initial-advertise-peer-urls=http://127.0.0.1:1"]).unwrap_err(),
        "--initial-cluster has default=http://localhost:2380 but missing from --initial-advertise-peer-urls=http://127.0.0.1:1 (resolved urls: \"http://127.0.0.1:1\" != \"http://localhost:2380\")"
    );
    let twice = "--initial-cluster=default=http://localhost:2380,b=http://localhost:2380";
    assert!(verify(&[twice]).unwrap_err().ends_with("has duplicate url"));
}

#[test]
fn durations_are_gos() {
    for (text, nanos) in [
        ("0", 0),
        ("5s", 5_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("1.5s", 1_500_000_000),
        ("100ms", 100_000_000),
        ("2us", 2_000),
        ("7ns", 7),
        (".5m", 30_000_000_000),
    ] {
        assert_eq!(
            parse_duration(text),
            Ok(Duration::from_nanos(nanos)),
            "{text}"
        );
    }
    for text in ["", "5", "s", "1x", "-1s", "1..5s", "99999999999h", "1s2"] {
        assert_eq!(
            parse_duration(text),
            Err("parse error".to_owned()),
            "{text}"
        );
    }
    for text in [
        "0s",
        "7ns",
        "2µs",
        "1.5ms",
        "100ms",
        "1.5s",
        "1m0s",
        "2h0m0s",
        "1h0m0.25s",
    ] {
        assert_eq!(format_duration(parse_duration(text).unwrap()), text);
    }
}

#[test]
fn files_stand_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("reeve.yaml");
    let text = "name: f\nlisten-client-urls: http://127.0.0.1:1\nadvertise-client-urls: http://h:1\n\
                max-txn-ops: 7\npre-vote: false\ngrpc-keepalive-min-time: 1000000000\nunknown: [1]\n\
                initial-cluster-state: existing\nlog-outputs: [default]\n";
    std::fs::write(&path, text).unwrap();
    let flag = format!("--config-file={}", path.display());
    let read = config(&[&flag, "--name=ignored"]);
    assert_eq!(
        (&*read.name, read.max_txn_ops, read.pre_vote),
        ("f", 7, false)
    );
    assert_eq!(read.grpc_keepalive_min_time, Duration::from_secs(1));
    assert_eq!(read.initial_cluster_state, ClusterState::Existing);
    let nested = "peer-transport-security:\n  cert-file: c\n  client-cert-auth: true\n  allowed-cn: [x, y]\n  unknown: 1\n\
                  client-transport-security:\n";
    std::fs::write(&path, nested).unwrap();
    let security = config(&[&flag]).peer_transport_security;
    assert_eq!(security.cert_file, PathBuf::from("c"));
    assert!(security.client_cert_auth);
    assert_eq!(security.allowed_names, ["x", "y"]);
    for bad in [
        "peer-transport-security: x",
        "peer-transport-security:\n  auto-tls: x",
        "max-txn-ops: x",
        "grpc-keepalive-min-time: 5s",
        "- a",
        "a: [",
        "cert-file: x",
    ] {
        std::fs::write(&path, bad).unwrap();
        assert!(invalid(&[&flag]).contains("reeve.yaml: "), "{bad}");
    }
    assert!(invalid(&["--config-file=/nonexistent"]).starts_with("open /nonexistent: "));
}

#[test]
fn members_are_found_one_way_only() {
    let search = "--discovery-srv=example.org";
    let token = "--discovery-token=t";
    let endpoints = "--discovery-endpoints=http://b:1,a:2, a:2";
    let listed = "--initial-cluster=default=http://localhost:2380";
    let conflict = "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\"";
    for arguments in [
        &[search, listed][..],
        &[token, endpoints, listed],
        &[search, token, endpoints],
    ] {
        assert_eq!(invalid(arguments), conflict);
    }
    let half = "both --discovery-token and --discovery-endpoints must be set";
    assert_eq!(invalid(&[token]), half);
    assert_eq!(invalid(&[endpoints]), half);
    assert_eq!(
        invalid(&[token, "--discovery-endpoints=a:1,,"]),
        "--discovery-endpoints must not contain empty endpoints"
    );
    assert_eq!(
        invalid(&["--discovery-fallback=proxy"]),
        "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\""
    );
    let unknown = bad("x", "discovery-fallback", "invalid value");
    assert_eq!(usage(&["--discovery-fallback=x"]), unknown);
    let removed = "flag provided but not defined: -discovery";
    assert_eq!(usage(&["--discovery=http://x"]), removed);

    assert_eq!(
        invalid(&["--discovery-cert=c"]),
        "KeyFile and CertFile must both be present[key: , cert: c]"
    );

    let found = config(&["--name=m", token, endpoints]);
    assert_eq!(found.discovery.endpoints, ["a:2", "http://b:1"]);
    assert_eq!(
        (&*found.initial_cluster_token, &*found.initial_cluster),
        ("t", "")
    );
    let alone = found.verify_bootstrap().unwrap();
    assert_eq!(alone["m"][0].to_string(), "http://localhost:2380");
    let joining = config(&[token, endpoints, "--initial-cluster-state=existing"]);
    assert_eq!(
        joining.verify_join().unwrap_err(),
        "discovery URL should not be set when joining existing initial cluster"
    );
    let by_records = config(&["--name=m", search]);
    assert_eq!(by_records.initial_cluster, "");
    assert_eq!(by_records.check_bootstrap(false), Ok(()));
}

#[test]
fn who_logs_in_to_the_other_cluster_needs_a_password() {
    let login = |arguments: &[&str]| {
        let found = config(arguments).discovery;
        found
            .login()
            .map(|(name, password)| format!("{name} {password}"))
    };
    assert_eq!(login(&[]), None);
    assert_eq!(login(&["--discovery-user=a:b:c"]).unwrap(), "a b:c");
    let apart = ["--discovery-user=a", "--discovery-password=b"];
    assert_eq!(login(&apart).unwrap(), "a b");
    for bad in ["a", "a:", ":b"] {
        let flag = format!("--discovery-user={bad}");
        assert!(invalid(&[&flag]).contains("name:password"), "{bad}");
    }
}

#[test]
fn passwords_do_not_reach_the_log() {
    let given = [
        "reeve",
        "--name=a",
        "--discovery-user",
        "u:secret",
        "-discovery-password=secret",
        "--discovery-user=v:secret",
        "--discovery-password",
        "secret",
        "--data-dir=d",
    ];
    let given = given.map(str::to_owned);
    let shown = without_secrets(&given);
    let expected = [
        "reeve",
        "--name=a",
        "--discovery-user",
        "u",
        "-discovery-password=***",
        "--discovery-user=v",
        "--discovery-password",
        "***",
        "--data-dir=d",
    ];
    assert_eq!(shown, expected);
    let environment = [
        ("ETCD_DISCOVERY_USER", "u:secret"),
        ("ETCD_DISCOVERY_PASSWORD", "secret"),
    ];
    let Ok(Outcome::Run(loaded)) = with(&[], &environment) else {
        panic!()
    };
    assert_eq!(loaded.config.discovery.password, "secret");
    assert!(!format!("{:?}", loaded.notices).contains("secret"));
}
