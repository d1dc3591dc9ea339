//! The arithmetic of majorities, over all small cases.

use crate::configuration::{ChangeKind, ConfigurationChange, ConfigurationState};
use crate::quorum::{Tally, agreed, majority, tally};

/// All ways to fill `places` from `values`.
fn all<T: Copy>(values: &[T], places: usize) -> Vec<Vec<T>> {
    let mut ways = vec![Vec::new()];
    for _ in 0..places {
        let longer = |way: &Vec<T>| {
            values
                .iter()
                .map(|value| way.iter().copied().chain([*value]).collect())
                .collect::<Vec<Vec<T>>>()
        };
        ways = ways.iter().flat_map(longer).collect();
    }
    ways
}

#[test]
fn agreed_is_the_greatest_value_that_a_majority_has_reached() {
    for voters in 0..=7 {
        for reached in all(&[0, 1, 2, 3], voters) {
            let has = |value: u64| reached.iter().filter(|&&other| other >= value).count();
            let expected = (0..=3)
                .rev()
                .find(|&value| has(value) >= majority(voters))
                .unwrap_or(0);
            assert_eq!(agreed(&mut reached.clone()), expected, "{reached:?}");
        }
    }
}

#[test]
fn an_election_is_won_by_a_majority_and_lost_when_none_is_possible() {
    for voters in 0..=7 {
        for votes in all(&[None, Some(true), Some(false)], voters) {
            let count = |answer| votes.iter().filter(|&&vote| vote == answer).count();
            let (yes, open) = (count(Some(true)), count(None));
            let expected = if yes > voters / 2 {
                Tally::Won
            } else if yes + open <= voters / 2 {
                Tally::Lost
            } else {
                Tally::Open
            };
            assert_eq!(tally(votes.iter().copied()), expected, "{votes:?}");
        }
    }
}

/// Members of a set given as bits.
fn members(bits: u32) -> Vec<u64> {
    (0..10)
        .filter(|bit| bits & 1 << bit != 0)
        .map(|bit| bit + 1)
        .collect()
}

/// Thesis, section 4.1: what makes changes of a single server safe.
#[test]
fn majorities_of_configurations_one_change_apart_overlap() {
    let is_majority =
        |set: u32, of: u32| (set & of).count_ones() as usize >= majority(of.count_ones() as usize);
    for old in 1u32..64 {
        for member in 0..6 {
            let new = old ^ 1 << member;
            for one in 0u32..64 {
                for other in 0u32..64 {
                    let both = is_majority(one, old) && is_majority(other, new);
                    let overlap = (one & old) & (other & new) != 0;
                    assert!(
                        new == 0 || !both || overlap,
                        "{old:b} {new:b} {one:b} {other:b}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_change_moves_one_member_and_keeps_the_lists_sorted_and_apart() {
    let kinds = [
        ChangeKind::AddVoter,
        ChangeKind::AddLearner,
        ChangeKind::Remove,
        ChangeKind::Update,
    ];
    for voters in 1u32..16 {
        for learners in (0u32..16).filter(|learners| learners & voters == 0) {
            let before = ConfigurationState::new(members(voters), members(learners)).unwrap();
            for kind in kinds {
                for member in 1..=5 {
                    let bit = 1 << (member - 1);
                    let change = ConfigurationChange {
                        kind,
                        member,
                        context: bytes::Bytes::new(),
                    };
                    let (is_voter, is_learner) = (voters & bit != 0, learners & bit != 0);
                    let expected = match kind {
                        ChangeKind::AddVoter if !is_voter => Some((voters | bit, learners & !bit)),
                        ChangeKind::AddLearner if !is_voter && !is_learner => {
                            Some((voters, learners | bit))
                        }
                        ChangeKind::Remove if is_voter || is_learner => {
                            Some((voters & !bit, learners & !bit)).filter(|(left, _)| *left != 0)
                        }
                        ChangeKind::Update if is_voter || is_learner => Some((voters, learners)),
                        _ => None,
                    };
                    let after = before.with(&change).ok();
                    let expected = expected.map(|(voters, learners)| {
                        ConfigurationState::new(members(voters), members(learners)).unwrap()
                    });
                    assert_eq!(after, expected, "{before:?} {change:?}");
                }
            }
        }
    }
}
