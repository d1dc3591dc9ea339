//! What a loss of power can leave behind.

use std::path::Path;

use super::contents::{Change, Contents, NameChange, SECTOR_BYTES};

/// A change that a loss of power may undo: submitted, perhaps completed, but not flushed.
#[derive(Debug, Clone)]
pub(super) struct Unflushed {
    /// The operation's number.
    pub(super) number: u64,
    pub(super) change: Change,
    /// The number of operations submitted when it completed; none while it is in flight.
    pub(super) completed: Option<u64>,
    /// It, or a flush of it, has failed: no later flush makes it durable.
    pub(super) orphaned: bool,
}

/// What becomes of one unflushed change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It reached the medium.
    Kept,
    /// It did not.
    Lost,
    /// These sectors of a write reached it. Changes other than writes are kept.
    Torn(Vec<bool>),
}

/// An unflushed change, as shown to whoever decides its [`Fate`].
#[derive(Debug, Clone, Copy)]
pub struct AtRisk<'a> {
    /// The number of the operation.
    pub number: u64,
    /// Sectors of a write; 1 for every other change.
    pub sectors: usize,
    /// Whether it is a change of names: a creation, rename or removal.
    pub is_name: bool,
    /// The path, for a change of names.
    pub path: Option<&'a Path>,
    /// Whether it was still in flight.
    pub in_flight: bool,
}

impl Unflushed {
    pub(super) fn at_risk(&self) -> AtRisk<'_> {
        let path = match &self.change {
            Change::Name(
                NameChange::Create { path, .. }
                | NameChange::CreateDirectory { path }
                | NameChange::Remove { path }
                | NameChange::Rename { to: path, .. },
            ) => Some(path.as_path()),
            _ => None,
        };
        AtRisk {
            number: self.number,
            sectors: self.sectors(),
            is_name: path.is_some(),
            path,
            in_flight: self.completed.is_none(),
        }
    }

    fn sectors(&self) -> usize {
        match &self.change {
            Change::Write { bytes, .. } => bytes.len().div_ceil(SECTOR_BYTES).max(1),
            _ => 1,
        }
    }
}

/// Applies the fates, in the order of the operations, to what is durable.
pub(super) fn survive(durable: &Contents, unflushed: &[Unflushed], fates: &[Fate]) -> Contents {
    let mut contents = durable.clone();
    for (unit, fate) in unflushed.iter().zip(fates) {
        match fate {
            Fate::Kept => contents.apply(&unit.change),
            Fate::Lost => {}
            Fate::Torn(kept) => contents.apply_torn(&unit.change, kept),
        }
    }
    contents
}

/// All combinations are tried up to this many unflushed changes.
const EXHAUSTIVE: usize = 6;

/// The fates to try: every subset of up to six changes, or else all, none, and each one lost or kept
/// alone; and in either case each write torn in several ways, with all others kept and with all
/// others lost. At most `limit`, evenly chosen.
pub(super) fn plans(unflushed: &[Unflushed], limit: usize) -> Vec<Vec<Fate>> {
    let count = unflushed.len();
    let mut plans: Vec<Vec<Fate>> = if count <= EXHAUSTIVE {
        let fate = |subset: usize, unit: usize| match subset >> unit & 1 {
            1 => Fate::Kept,
            _ => Fate::Lost,
        };
        (0..1 << count)
            .map(|subset| (0..count).map(|unit| fate(subset, unit)).collect())
            .collect()
    } else {
        let mut plans = vec![vec![Fate::Kept; count], vec![Fate::Lost; count]];
        for unit in 0..count {
            plans.push(with(vec![Fate::Kept; count], unit, Fate::Lost));
            plans.push(with(vec![Fate::Lost; count], unit, Fate::Kept));
        }
        plans
    };
    for (index, unit) in unflushed.iter().enumerate() {
        for tear in tears(unit.sectors()) {
            for others in [Fate::Kept, Fate::Lost] {
                plans.push(with(vec![others; count], index, Fate::Torn(tear.clone())));
                if count == 1 {
                    break;
                }
            }
        }
    }
    if plans.len() <= limit {
        return plans;
    }
    (0..limit)
        .map(|index| plans[index * plans.len() / limit].clone())
        .collect()
}

fn with(mut fates: Vec<Fate>, unit: usize, fate: Fate) -> Vec<Fate> {
    fates[unit] = fate;
    fates
}

/// Ways in which a write of so many sectors is torn: cut short at every sector and with every single
/// sector missing if they are few; otherwise at the ends and in the middle; and every second one.
fn tears(sectors: usize) -> Vec<Vec<bool>> {
    if sectors < 2 {
        return Vec::new();
    }
    let cuts: Vec<usize> = if sectors <= 16 {
        (1..sectors).collect()
    } else {
        vec![1, sectors / 2, sectors - 1]
    };
    let mut tears: Vec<Vec<bool>> = Vec::new();
    for cut in cuts {
        tears.push((0..sectors).map(|sector| sector < cut).collect());
        tears.push((0..sectors).map(|sector| sector != cut).collect());
    }
    tears.push((0..sectors).map(|sector| sector != 0).collect());
    tears.push((0..sectors).map(|sector| sector % 2 == 0).collect());
    tears
}

/// A small repeatable source of chance (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014).
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A fate for one change: a third kept, a third lost, a third torn.
    pub(super) fn fate(&mut self, unit: AtRisk<'_>) -> Fate {
        match self.next() % 3 {
            0 => Fate::Kept,
            1 => Fate::Lost,
            _ => Fate::Torn(
                (0..unit.sectors)
                    .map(|_| self.next().is_multiple_of(2))
                    .collect(),
            ),
        }
    }
}
