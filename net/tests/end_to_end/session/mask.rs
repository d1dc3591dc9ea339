//! Hides what may differ between two servers that behave alike: identifiers, sizes, times and ports. Identifiers and ports
//! are hidden by value, so that one that stands where it should not is still seen.

use regex::Regex;

/// The replacements for one server.
pub struct Mask {
    /// The two identifiers of every header as they stand in a protobuf message, with the header's length before them,
    /// which depends on theirs.
    header: Option<regex::bytes::Regex>,
    values: Vec<(String, String)>,
    patterns: Vec<(Regex, &'static str)>,
    /// Whether lines that the client itself logs are hidden.
    hides_client_log: bool,
}

impl Mask {
    /// For several servers, whose ports and identifiers are the same on both sides: who answers, who leads since when, and
    /// how often the client tries again is left to chance.
    #[allow(dead_code, reason = "for the sessions of clusters")]
    pub fn of_cluster(members: &[u64]) -> Mask {
        let mut mask = Mask::new(0, 0);
        mask.values.clear();
        for member in members {
            for number in [format!("{member}"), format!("{member:x}")] {
                mask.values.push((
                    format!("\"member_id\":\"{number}\""),
                    r#""member_id":<member>"#.into(),
                ));
                mask.values.push((
                    format!("\"member_id\":{number}"),
                    r#""member_id":<member>"#.into(),
                ));
                mask.values.push((
                    format!("\"MemberID\" : {number}"),
                    r#""MemberID" : <member>"#.into(),
                ));
            }
        }
        let pattern = |text: &str| Regex::new(text).expect("a pattern");
        mask.patterns.extend([
            (
                pattern(r#""(raft_term|raftTerm)":[0-9]+"#),
                r#""$1":<term>"#,
            ),
            (pattern(r#""(RaftTerm)" : [0-9]+"#), r#""$1" : <term>"#),
            (
                pattern(r"(true|false), [0-9]+, <index>"),
                "$1, <term>, <index>",
            ),
            (
                pattern(r"(true|false) │ [0-9]+ │ <index>"),
                "$1 │ <term> │ <index>",
            ),
        ]);
        mask.hides_client_log = true;
        mask
    }

    /// Knows the ports; identifiers are added with [`Mask::hide`].
    pub fn new(client_port: u16, peer_port: u16) -> Mask {
        let pattern = |text: &str| Regex::new(text).expect("a pattern");
        Mask {
            header: None,
            hides_client_log: false,
            values: vec![
                (format!(":{client_port}"), ":<client port>".to_string()),
                (format!(":{peer_port}"), ":<peer port>".to_string()),
            ],
            patterns: vec![
                // Times.
                (pattern(r"\b[0-9]+\.[0-9]+(µs|ms|s)\b"), "<time>"),
                (pattern(r"remaining\([0-9]+s\)"), "remaining(<time>)"),
                (pattern(r#""ttl":[0-9]+"#), r#""ttl":<time>"#),
                (pattern(r#""TTL" : [0-9]+"#), r#""TTL" : <time>"#),
                (pattern(r#""ts":"[^"]*""#), r#""ts":"<time>""#),
                // Sizes.
                (
                    pattern(r#""(dbSize|dbSizeInUse)":[0-9]+"#),
                    r#""$1":<size>"#,
                ),
                (
                    pattern(r#""(DBSize|DBSizeInUse)" : [0-9]+"#),
                    r#""$1" : <size>"#,
                ),
                (pattern(r"\b[0-9.]+ (B|kB|MB)\b"), "<size>"),
                (pattern(r"\b[0-9]+%"), "<size>"),
                // The position in the log, which also counts entries that no client asked for.
                (
                    pattern(r#""(raftIndex|raftAppliedIndex)":[0-9]+"#),
                    r#""$1":<index>"#,
                ),
                (
                    pattern(r#""(RaftIndex|RaftAppliedIndex)" : [0-9]+"#),
                    r#""$1" : <index>"#,
                ),
                (
                    pattern(r"(true|false), ([0-9]+), [0-9]+, [0-9]+, "),
                    "$1, $2, <index>, <index>, ",
                ),
                (
                    pattern(r"(true|false) │ ([0-9]+) │ [0-9]+ │ [0-9]+ │"),
                    "$1 │ $2 │ <index> │ <index> │",
                ),
                // The client's own port, and addresses of its memory in its logs and traces.
                (
                    pattern(r"LocalAddr: '127.0.0.1:[0-9]+'"),
                    "LocalAddr: <port>",
                ),
                (pattern(r"0x[0-9a-f]{6,}"), "<pointer>"),
            ],
        }
    }

    /// From now on `value` is shown as `<name>`; values of fewer than 5 characters would hit by chance.
    pub fn hide(&mut self, value: &str, name: &str) {
        assert!(value.len() >= 5, "{name} is {value}, too short to hide");
        self.values.push((value.to_string(), format!("<{name}>")));
        // One value may hold another.
        self.values
            .sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    }

    /// Hides the identifiers of the cluster and the member in all their forms: decimal, hexadecimal, and in protobuf.
    pub fn hide_identifiers(&mut self, cluster: u64, member: u64) {
        let mut pattern = String::from("(?-u)[\\x10-\\x30]");
        for (tag, value, name) in [(0x08, cluster, "cluster"), (0x10, member, "member")] {
            self.hide(&value.to_string(), name);
            self.hide(&format!("{value:x}"), name);
            let mut field = vec![tag];
            prost::encoding::encode_varint(value, &mut field);
            pattern.extend(field.iter().map(|byte| format!("\\x{byte:02x}")));
        }
        self.header = Some(regex::bytes::Regex::new(&pattern).expect("a pattern"));
    }

    /// The output with everything hidden; bytes that are not UTF-8 are shown as `\xNN`.
    pub fn apply(&self, output: &[u8]) -> String {
        let output = match &self.header {
            Some(header) => header.replace_all(output, b"<cluster and member>".as_slice()),
            None => output.into(),
        };
        let mut text = escaped(&output);
        if self.hides_client_log {
            let own = |line: &&str| !line.starts_with(r#"{"level":"warn""#);
            let mut lines: Vec<&str> = text.split_inclusive('\n').filter(own).collect();
            if text.contains(" is healthy") || text.contains("HEALTH") {
                // The endpoints are asked at once, and shown in the order of their answers.
                lines.sort_unstable();
            }
            text = lines.concat();
        }
        for (value, name) in &self.values {
            text = text.replace(value, name);
        }
        text = narrow(&unpadded(&text));
        for (pattern, name) in &self.patterns {
            text = pattern.replace_all(&text, *name).into_owned();
        }
        text
    }
}

fn escaped(output: &[u8]) -> String {
    let mut text = String::new();
    for chunk in output.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// etcdctl fills identifiers of less than 16 digits up with spaces, and one in sixteen is so short.
fn unpadded(text: &str) -> String {
    let padded = Regex::new(r" {2,}<([A-Za-z]+)>").expect("a pattern");
    padded.replace_all(text, " <$1>").into_owned()
}

/// Tables are as wide as their widest cell, which may hold a masked value: cells lose their padding and rules their
/// length.
fn narrow(text: &str) -> String {
    let rule = Regex::new(r"[-─]{3,}").expect("a pattern");
    let padding = Regex::new(r" {2,}").expect("a pattern");
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        if line.contains('|') || line.contains('│') || line.starts_with('+') || line.contains('─')
        {
            let line = rule.replace_all(line, "---");
            out.push_str(&padding.replace_all(&line, " "));
        } else {
            out.push_str(line);
        }
    }
    out
}
