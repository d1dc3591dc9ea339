//! etcd's feature gates: which there are, and what the ones mean that Reeve has a use for.

use super::REEVE_VERSION;
use super::flags::parse_switch;

/// What `--feature-gates` has switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureGates {
    /// A member that starts compares what it has stored with the others before it serves.
    pub initial_corrupt_check: bool,
    /// The states of the members are compared at least as often as `--compact-hash-check-time` says.
    pub compact_hash_check: bool,
}

/// The gates of etcd 3.7 that Reeve has no use for, and their defaults: with any other value they would change something that
/// Reeve does not have, or does not do yet.
const OTHERS: [(&str, bool); 9] = [
    ("AllAlpha", false),
    ("AllBeta", true),
    ("FastLeaseKeepAlive", true),
    ("LeaseCheckpoint", false),
    ("LeaseCheckpointPersist", false),
    ("PriorityRequest", false),
    ("SetMemberLocalAddr", false),
    ("StopGRPCServiceOnDefrag", false),
    ("TxnModeWriteWithSharedBuffer", true),
];

/// Applies `name=true,name=false` to the gates, with etcd's texts for what is wrong.
pub(super) fn set(gates: &mut FeatureGates, value: &str) -> Result<(), String> {
    for pair in value.split(',').filter(|pair| !pair.is_empty()) {
        let Some((name, switch)) = pair.split_once('=') else {
            return Err(format!("missing bool value for {}", pair.trim()));
        };
        let (name, switch) = (name.trim(), switch.trim());
        let is_on = parse_switch(switch).map_err(|_| {
            format!(
                "invalid value of {name}={switch}, err: strconv.ParseBool: parsing {switch:?}: invalid syntax"
            )
        })?;
        let default = OTHERS.iter().find(|(known, _)| *known == name);
        match (name, default) {
            ("InitialCorruptCheck", _) => gates.initial_corrupt_check = is_on,
            ("CompactHashCheck", _) => gates.compact_hash_check = is_on,
            (_, Some((_, default))) if *default == is_on => {}
            (_, Some(_)) => {
                return Err(format!(
                    "{name}={is_on} is not supported by reeve {REEVE_VERSION}; leave it out"
                ));
            }
            (_, None) => return Err(format!("unrecognized feature gate: {name}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<FeatureGates, String> {
        let mut gates = FeatureGates::default();
        set(&mut gates, value).map(|()| gates)
    }

    #[test]
    fn gates_are_read_as_etcd_reads_them() {
        assert_eq!(read(""), Ok(FeatureGates::default()));
        let both = FeatureGates {
            initial_corrupt_check: true,
            compact_hash_check: true,
        };
        let text = "InitialCorruptCheck=true, CompactHashCheck=T,,LeaseCheckpoint=false";
        assert_eq!(read(text), Ok(both));
        let mut gates = both;
        set(&mut gates, "InitialCorruptCheck=false").unwrap();
        assert_eq!(
            (gates.initial_corrupt_check, gates.compact_hash_check),
            (false, true)
        );
        for (value, told) in [
            (
                "InitialCorruptCheck",
                "missing bool value for InitialCorruptCheck",
            ),
            (
                "CompactHashCheck=yes",
                "invalid value of CompactHashCheck=yes, err: strconv.ParseBool: parsing \"yes\": invalid syntax",
            ),
            ("Nonsense=true", "unrecognized feature gate: Nonsense"),
        ] {
            assert_eq!(read(value), Err(told.to_owned()));
        }
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        for (name, default) in OTHERS {
            assert_eq!(
                read(&format!("{name}={default}")),
                Ok(FeatureGates::default())
            );
            let told = read(&format!("{name}={}", !default)).unwrap_err();
            assert!(told.contains("is not supported by reeve"), "{told}");
        }
    }
}
