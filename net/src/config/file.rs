//! The configuration file: YAML or JSON with the flags' names as keys.

use super::{
    defaults::Config,
    flags::{self, Kind, SECTIONS},
};
use std::time::Duration;
use yaml_rust2::{Yaml, YamlLoader};

/// A configuration file is never this large.
const MAX_BYTES: u64 = 1024 * 1024;

/// Keys with values of their own, of which nothing is supported yet.
const LATER: [&str; 2] = ["client-transport-security", "discovery-config"];

/// The key with what concerns TLS between members.
const PEER_SECURITY: &str = "peer-transport-security";

/// The keys within it, and the flag that each stands for.
const PEER_SECURITY_KEYS: [(&str, &str); 10] = [
    ("cert-file", "peer-cert-file"),
    ("key-file", "peer-key-file"),
    ("client-cert-file", "peer-client-cert-file"),
    ("client-key-file", "peer-client-key-file"),
    ("client-cert-auth", "peer-client-cert-auth"),
    ("trusted-ca-file", "peer-trusted-ca-file"),
    ("auto-tls", "peer-auto-tls"),
    ("allowed-cn", "peer-cert-allowed-cn"),
    ("allowed-hostname", "peer-cert-allowed-hostname"),
    (
        "skip-client-san-verification",
        "peer-skip-client-san-verification",
    ),
];

/// Reads the file. The error is a text for the operator.
pub(super) fn read(path: &str) -> Result<Config, String> {
    let describe = |error: std::io::Error| format!("open {path}: {error}");
    let size = std::fs::metadata(path).map_err(describe)?.len();
    if size > MAX_BYTES {
        return Err(format!(
            "{path}: {size} bytes are too many for a configuration file"
        ));
    }
    let text = std::fs::read_to_string(path).map_err(describe)?;
    apply(&text).map_err(|error| format!("{path}: {error}"))
}

/// Applies the text of a file to the defaults.
pub(super) fn apply(text: &str) -> Result<Config, String> {
    let mut config = Config::default();
    let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    let entries = match documents.first() {
        None | Some(Yaml::Null) => return Ok(config),
        Some(Yaml::Hash(entries)) => entries,
        Some(_) => return Err("not a mapping of flags to values".to_owned()),
    };
    for (key, value) in entries {
        let Some(key) = key.as_str() else { continue };
        if LATER.contains(&key) {
            if *value != Yaml::Null {
                return Err(format!(
                    "{key}: not supported yet by reeve {}",
                    super::REEVE_VERSION
                ));
            }
            continue;
        }
        if key == PEER_SECURITY {
            set_peer_security(&mut config, value)?;
            continue;
        }
        // Unknown keys are ignored, as in etcd.
        let known = SECTIONS
            .iter()
            .flat_map(|(_, flags)| *flags)
            .find(|flag| flag.name == key);
        if let Some(flag) = known {
            set(&mut config, flag, value).map_err(|error| format!("{key}: {error}"))?;
        }
    }
    Ok(config)
}

fn set_peer_security(config: &mut Config, value: &Yaml) -> Result<(), String> {
    let entries = match value {
        Yaml::Null => return Ok(()),
        Yaml::Hash(entries) => entries,
        _ => return Err(format!("{PEER_SECURITY}: not a mapping")),
    };
    for (key, value) in entries {
        let known = PEER_SECURITY_KEYS
            .iter()
            .find(|(name, _)| key.as_str() == Some(*name))
            .and_then(|(_, flag)| flags::find(flag));
        if let Some(flag) = known {
            set(config, flag, value)
                .map_err(|error| format!("{PEER_SECURITY}: {}: {error}", flag.name))?;
        }
    }
    Ok(())
}

fn set(config: &mut Config, flag: &flags::Flag, value: &Yaml) -> Result<(), String> {
    let text = match (value, flag.kind) {
        (Yaml::Null, _) => return Ok(()),
        // Go's YAML has no durations: they are integers, in nanoseconds.
        (Yaml::Integer(nanos), Kind::Time(set)) => {
            let nanos = u64::try_from(*nanos).map_err(|_| "negative duration".to_owned())?;
            set(config, Duration::from_nanos(nanos));
            config.given.insert(flag.name);
            return Ok(());
        }
        (_, Kind::Time(_)) => return Err("durations are integers, in nanoseconds".to_owned()),
        (Yaml::String(text), _) => text.clone(),
        (Yaml::Integer(number), _) => number.to_string(),
        (Yaml::Boolean(switch), _) => switch.to_string(),
        (Yaml::Array(list), _) => {
            let texts: Vec<&str> = list.iter().filter_map(Yaml::as_str).collect();
            texts.join(",")
        }
        _ => return Err("not a value of this flag".to_owned()),
    };
    flag.set(config, &text)
}
