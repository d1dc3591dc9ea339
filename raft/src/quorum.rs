//! The arithmetic of majorities.

/// How many of `voters` make a majority.
pub(crate) const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The greatest value that a majority has reached. Sorts `reached`, which holds one value per voter.
/// Nothing is agreed by nobody: 0.
pub(crate) fn agreed(reached: &mut [u64]) -> u64 {
    reached.sort_unstable();
    match reached.len().checked_sub(majority(reached.len())) {
        Some(place) => reached[place],
        None => 0,
    }
}

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    Won,
    Lost,
    Open,
}

/// Counts votes: one item per voter, `None` where the answer is missing.
pub(crate) fn tally(votes: impl Iterator<Item = Option<bool>>) -> Tally {
    let (mut voters, mut granted, mut refused) = (0, 0, 0);
    for vote in votes {
        voters += 1;
        match vote {
            Some(true) => granted += 1,
            Some(false) => refused += 1,
            None => {}
        }
    }
    if granted >= majority(voters) {
        Tally::Won
    } else if voters - refused < majority(voters) {
        Tally::Lost
    } else {
        Tally::Open
    }
}
