//! Encodings of configurations, and what is refused.

use bytes::Bytes;

use crate::configuration::{ChangeKind, ConfigurationChange, ConfigurationState};
use crate::error::ConfigurationError;

#[test]
fn impossible_configurations_are_refused() {
    let new = |voters: &[u64], learners: &[u64]| {
        ConfigurationState::new(voters.iter().copied(), learners.iter().copied())
    };
    assert_eq!(new(&[], &[1]), Err(ConfigurationError::NoVoter));
    assert_eq!(new(&[0], &[]), Err(ConfigurationError::ZeroId));
    assert_eq!(
        new(&[1, 2, 1], &[]),
        Err(ConfigurationError::Repeated { member: 1 })
    );
    assert_eq!(
        new(&[1, 2], &[3, 2]),
        Err(ConfigurationError::Repeated { member: 2 })
    );
    assert_eq!(
        new(&[3, 1], &[9, 5]).unwrap().members().collect::<Vec<_>>(),
        [1, 3, 5, 9]
    );
}

#[test]
fn a_configuration_survives_encoding_and_damage_is_refused() {
    let configuration = ConfigurationState::new([7, 3, u64::MAX], [1, 99]).unwrap();
    let bytes = configuration.to_bytes();
    assert_eq!(ConfigurationState::from_bytes(&bytes), Ok(configuration));
    for length in 0..bytes.len() {
        assert!(
            ConfigurationState::from_bytes(&bytes[..length]).is_err(),
            "cut at {length}"
        );
    }
    for place in 0..9 {
        let mut damaged = bytes.to_vec();
        damaged[place] ^= 0x40;
        assert!(
            ConfigurationState::from_bytes(&damaged).is_err(),
            "damage at {place}"
        );
    }
}

#[test]
fn a_change_survives_encoding_and_damage_is_refused() {
    let kinds = [
        ChangeKind::AddVoter,
        ChangeKind::AddLearner,
        ChangeKind::Remove,
        ChangeKind::Update,
    ];
    for kind in kinds {
        let context = Bytes::from_static(b"http://10.0.0.1:2380");
        let change = ConfigurationChange {
            kind,
            member: 0x1234_5678_9abc_def0,
            context,
        };
        let bytes = change.to_bytes();
        assert_eq!(ConfigurationChange::from_bytes(&bytes), Ok(change));
        for length in 0..10 {
            assert!(ConfigurationChange::from_bytes(&bytes.slice(..length)).is_err());
        }
        for place in 0..2 {
            let mut damaged = bytes.to_vec();
            damaged[place] ^= 0x40;
            assert!(ConfigurationChange::from_bytes(&damaged.into()).is_err());
        }
    }
    let nobody = ConfigurationChange {
        kind: ChangeKind::Remove,
        member: 0,
        context: Bytes::new(),
    };
    assert_eq!(
        ConfigurationChange::from_bytes(&nobody.to_bytes()),
        Err(ConfigurationError::ZeroId)
    );
}
