//! The list of the members as `/members` shows it: etcd's JSON, with ids as numbers.

use reeve_node::MemberRecord;
use serde_json::Value;

/// A list of members that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of members: {0}")]
pub(crate) struct ListingError(String);

/// Writes a list. What a member has not said is left out, as etcd does.
pub(crate) fn write_listing(members: &[MemberRecord]) -> String {
    let member = |record: &MemberRecord| {
        // In etcd's order.
        let peer_urls = Value::from(record.peer_urls.clone());
        let mut text = format!("{{\"id\":{},\"peerURLs\":{peer_urls}", record.id);
        if record.learner {
            text.push_str(",\"isLearner\":true");
        }
        if !record.name.is_empty() {
            text.push_str(&format!(",\"name\":{}", Value::from(record.name.as_str())));
        }
        if !record.client_urls.is_empty() {
            let client_urls = Value::from(record.client_urls.clone());
            text.push_str(&format!(",\"clientURLs\":{client_urls}"));
        }
        text.push('}');
        text
    };
    let list: Vec<String> = members.iter().map(member).collect();
    format!("[{}]\n", list.join(","))
}

/// Reads what [`write_listing`], or an etcd member, wrote.
///
/// # Errors
/// [`ListingError`].
pub(crate) fn read_listing(text: &[u8]) -> Result<Vec<MemberRecord>, ListingError> {
    let wrong = |what: &str| ListingError(what.to_owned());
    let list: Value = serde_json::from_slice(text).map_err(|error| wrong(&error.to_string()))?;
    let list = match list {
        Value::Null => Vec::new(),
        Value::Array(list) => list,
        _ => return Err(wrong("it is no array")),
    };
    let texts = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list
            .iter()
            .map(|text| text.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| wrong("a URL is no text")),
        Some(_) => Err(wrong("URLs are no array")),
    };
    let member = |value: &Value| {
        let id = value.get("id").and_then(Value::as_u64);
        let name = value.get("name").and_then(Value::as_str);
        Ok(MemberRecord {
            id: id
                .filter(|id| *id != 0)
                .ok_or_else(|| wrong("a member has no id"))?,
            name: name.unwrap_or_default().to_owned(),
            peer_urls: texts(value.get("peerURLs"))?,
            client_urls: texts(value.get("clientURLs"))?,
            learner: value.get("isLearner").and_then(Value::as_bool) == Some(true),
            format: 0,
        })
    };
    list.iter().map(member).collect()
}
