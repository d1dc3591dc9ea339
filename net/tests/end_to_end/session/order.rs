//! Lists of members are in the order of their ids, and those of added members follow from the time: two servers that
//! behave alike may show two members in either order. So what etcdctl's `member` commands print is put into an order of
//! its own before it is compared; that the server's was right is checked here.

use serde_json::Value;

/// The output of a command, its members in the order of their peer URLs (as JSON) or of their lines.
pub fn settled(words: &[String], output: Vec<u8>) -> Vec<u8> {
    if words.first().is_none_or(|word| word != "member") {
        return output;
    }
    if let Ok(mut answer) = serde_json::from_slice::<Value>(&output) {
        if let Some(members) = answer.get_mut("members").and_then(Value::as_array_mut) {
            let id = |member: &Value| member["ID"].as_u64();
            assert!(
                members.is_sorted_by_key(id),
                "not in the order of ids: {members:?}"
            );
            members.sort_by_key(|member| member["peerURLs"].to_string());
        }
        return format!("{answer}\n").into_bytes();
    }
    let text = String::from_utf8_lossy(&output).into_owned();
    let mut lines: Vec<String> = text.lines().map(settled_line).collect();
    if words.get(1).is_some_and(|word| word == "list") {
        lines.sort_by(|one, other| without_id(one).cmp(without_id(other)));
    }
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text.into_bytes()
}

/// A line of a list without the id that it begins with: in the plain form and in a table.
fn without_id(line: &str) -> &str {
    match line.strip_prefix('│') {
        Some(row) => row.split_once('│').map_or(row, |(_, rest)| rest),
        None => line.split_once(", ").map_or(line, |(_, rest)| rest),
    }
}

/// What `member add` prints for the new member names all of them in one line.
fn settled_line(line: &str) -> String {
    let pairs = line.strip_prefix("ETCD_INITIAL_CLUSTER=\"");
    let Some(pairs) = pairs.and_then(|rest| rest.strip_suffix('"')) else {
        return line.to_string();
    };
    let mut pairs: Vec<&str> = pairs.split(',').collect();
    pairs.sort_unstable();
    format!("ETCD_INITIAL_CLUSTER=\"{}\"", pairs.join(","))
}
