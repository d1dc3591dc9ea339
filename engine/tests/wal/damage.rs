//! Rot: every byte inverted, every length cut, every block in a wrong place. Whatever was
//! acknowledged is recovered exactly, or the log is refused by name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use reeve_engine::disk::simulated::{Request, Verdict};
use reeve_engine::disk::{BLOCK_BYTES, SimulatedMedium};
use reeve_engine::wal::{Damage, Notice, WalError};

use crate::harness::*;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// A store at rest, and where its groups lie.
struct Store {
    medium: SimulatedMedium,
    history: BTreeMap<u64, State>,
    /// File and first block of each group, in order.
    groups: Vec<(PathBuf, u64, u64)>,
    sealed: bool,
}

/// A few segments, among them recycled ones with blocks of their earlier lives, one that is ready, and
/// spare files.
fn store(sealed: bool) -> Store {
    let mut rig = Rig::new(SMALL_SEGMENT);
    let groups = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&groups);
    rig.medium.set_host(move |request: &Request<'_>| {
        if request.durable && request.offset > 0 {
            let path = request.path.to_path_buf();
            notes
                .borrow_mut()
                .push((path, request.offset, request.offset + request.length));
        }
        Verdict::PROMPT
    });
    for round in 0..14 {
        rig.extend(1, 700 + 450 * (round % 5));
        rig.append(vote(1, 1, round as u64));
        rig.settle().unwrap();
        if round == 9 {
            let last = rig.state.last;
            rig.append(point(last - 1, 1));
            rig.settle().unwrap();
            rig.truncate_before(last);
            rig.settle().unwrap();
        }
    }
    // The current segment is a recycled one, and has stale blocks behind the last group.
    while rig.wal.statistics().recycled < 2 {
        rig.extend(1, 100);
        rig.settle().unwrap();
    }
    rig.extend(1, 3000);
    rig.settle().unwrap();
    if sealed {
        rig.wal.seal();
        rig.settle().unwrap();
    }
    assert!(
        rig.wal.statistics().segments >= 3,
        "{:?}",
        rig.wal.statistics()
    );
    let (medium, history) = (rig.medium.copy(), rig.history.clone());
    let groups = groups.borrow().clone();
    let live = |(path, ..): &&(PathBuf, u64, u64)| medium.read_file(path).is_some();
    let groups = groups.iter().filter(live).cloned().collect();
    Store {
        medium,
        history,
        groups,
        sealed,
    }
}

/// What a damaged store may answer.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Whole,
    LastGroupCut,
    /// As if it had never been written, which nobody can tell from a crash before the write.
    LastGroupGone,
    Refused,
}

impl Store {
    fn segments(&self) -> Vec<PathBuf> {
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "wal");
        self.medium.files().into_iter().filter(is_segment).collect()
    }

    fn last_group(&self) -> u64 {
        let unsealed = *self.history.last_key_value().unwrap().0;
        unsealed + u64::from(self.sealed)
    }

    fn state_at(&self, group: u64) -> &State {
        self.history.range(..=group).next_back().unwrap().1
    }

    /// The group that a byte belongs to, counted from the end: 0 is the last one.
    fn group_of(&self, path: &Path, offset: u64) -> Option<usize> {
        let holds =
            |group: &&(PathBuf, u64, u64)| group.0 == path && (group.1..group.2).contains(&offset);
        let position = self.groups.iter().position(|group| holds(&group))?;
        Some(self.groups.len() - 1 - position)
    }

    /// Opens a damaged copy, and checks that its answer is true.
    fn answer(&self, damaged: &SimulatedMedium, what: &str) -> Answer {
        let (mut disk, recovered) = open(damaged, options(SMALL_SEGMENT));
        let mut recovered = match recovered {
            Ok(recovered) => recovered,
            Err(WalError::Damaged(_)) => return Answer::Refused,
            Err(error) => panic!("{what}: {error}"),
        };
        let last = recovered.wal.durable_position().0;
        let result = compare(&mut recovered.wal, &mut disk, self.state_at(last));
        result.unwrap_or_else(|error| panic!("{what}: {error}"));
        if last == self.last_group() {
            return Answer::Whole;
        }
        assert_eq!(
            last + 1,
            self.last_group(),
            "{what}: more than the last group is gone"
        );
        let told = |notice: &Notice| matches!(notice, Notice::TornTail { group, .. } if *group == last + 1);
        if recovered.notices.iter().any(told) {
            Answer::LastGroupCut
        } else {
            Answer::LastGroupGone
        }
    }

    /// What it must answer when a byte is not what it was.
    fn expected(&self, path: &Path, offset: u64) -> Answer {
        if path.extension().is_none_or(|suffix| suffix != "wal") {
            return Answer::Whole;
        }
        match self.group_of(path, offset) {
            _ if offset < BLOCK => Answer::Refused,
            None => Answer::Whole,
            Some(0) => Answer::LastGroupCut,
            Some(_) => Answer::Refused,
        }
    }

    fn damage_of(&self, damaged: &SimulatedMedium) -> Damage {
        match open(damaged, options(SMALL_SEGMENT)).1.unwrap_err() {
            WalError::Damaged(damage) => damage,
            other => panic!("{other}"),
        }
    }
}

#[test]
fn every_byte_inverted_is_harmless_or_refused_by_name() {
    for sealed in [false, true] {
        let store = store(sealed);
        let mut counts = BTreeMap::new();
        for path in store.medium.files() {
            for offset in 0..SMALL_SEGMENT {
                let copy = store.medium.copy();
                assert!(copy.flip_bit(&path, offset * 8 + offset % 8));
                let what = format!("{} byte {offset}", path.display());
                let answer = store.answer(&copy, &what);
                assert_eq!(answer, store.expected(&path, offset), "{what}");
                if answer == Answer::Refused {
                    let damage = store.damage_of(&copy);
                    assert_eq!(
                        (&damage.path, damage.offset),
                        (&path, offset / BLOCK * BLOCK)
                    );
                    let untouched = copy.files().iter().all(|file| {
                        *file == path || copy.read_file(file) == store.medium.read_file(file)
                    });
                    assert!(untouched && copy.files() == store.medium.files());
                }
                *counts.entry(answer).or_insert(0) += 1;
            }
        }
        println!("sealed {sealed}: {counts:?}");
        assert!(counts[&Answer::Refused] > 40_000 && counts[&Answer::Whole] > 10_000);
        if sealed {
            // The last group is the seal itself: it says nothing that could be lost.
            let (last, before) = (store.last_group(), store.last_group() - 1);
            assert_eq!(store.state_at(last), store.state_at(before));
        }
    }
}

#[test]
fn every_length_cut_is_refused_by_name() {
    let store = store(false);
    for path in store.segments() {
        for length in 0..SMALL_SEGMENT {
            let copy = store.medium.copy();
            assert!(copy.set_length(&path, length));
            let damage = store.damage_of(&copy);
            assert_eq!((&damage.path, damage.offset), (&path, length), "{damage}");
        }
        let copy = store.medium.copy();
        copy.set_length(&path, SMALL_SEGMENT + 1);
        assert_eq!(
            store.damage_of(&copy).path,
            path,
            "too long is damage as well"
        );
    }
}

#[test]
fn a_spare_file_of_any_length_is_harmless() {
    let store = store(true);
    let spares: Vec<_> = store
        .medium
        .files()
        .into_iter()
        .filter(|path| !store.segments().contains(path))
        .collect();
    assert!(!spares.is_empty());
    for path in spares {
        for length in (0..SMALL_SEGMENT).step_by(101).chain([SMALL_SEGMENT + 7]) {
            let copy = store.medium.copy();
            copy.set_length(&path, length);
            assert_eq!(store.answer(&copy, "spare"), Answer::Whole);
        }
    }
}

#[test]
fn a_missing_segment_is_named() {
    let store = store(false);
    let segments = store.segments();
    for path in &segments[1..segments.len() - 1] {
        let copy = store.medium.copy();
        assert!(copy.remove_file(path));
        let damage = store.damage_of(&copy);
        assert_eq!(damage.path, *path);
    }
    // Without its oldest segment the log is one that was truncated: its first index says so.
    let copy = store.medium.copy();
    copy.remove_file(&segments[0]);
    let (_disk, recovered) = open(&copy, options(SMALL_SEGMENT));
    let whole = open(&store.medium.copy(), options(SMALL_SEGMENT))
        .1
        .unwrap()
        .wal;
    assert!(recovered.unwrap().wal.first_index() > whole.first_index());
}

#[test]
fn a_block_in_the_place_of_another_is_noticed() {
    for sealed in [false, true] {
        let store = store(sealed);
        let files = store.medium.files();
        let blocks: Vec<(&PathBuf, u64)> = files
            .iter()
            .flat_map(|path| (0..SMALL_SEGMENT / BLOCK).map(move |block| (path, block * BLOCK)))
            .collect();
        let bytes: BTreeMap<&PathBuf, Vec<u8>> = files
            .iter()
            .map(|path| (path, store.medium.read_file(path).unwrap()))
            .collect();
        let (mut refused, mut whole) = (0, 0);
        for (from, start) in &blocks {
            for (to, at) in &blocks {
                let source = &bytes[from][*start as usize..(*start + BLOCK) as usize];
                let target = &bytes[to][*at as usize..(*at + BLOCK) as usize];
                let copy = store.medium.copy();
                let mut image = bytes[to].clone();
                image[*at as usize..(*at + BLOCK) as usize].copy_from_slice(source);
                copy.write_file(to, &image);
                let what = format!("{} {start} to {} {at}", from.display(), to.display());
                let answer = store.answer(&copy, &what);
                refused += u32::from(answer == Answer::Refused);
                whole += u32::from(answer == Answer::Whole);
                if source != target && store.expected(to, *at) == Answer::Refused {
                    assert_eq!(answer, Answer::Refused, "{what}");
                }
            }
        }
        println!("sealed {sealed}: {refused} misplaced blocks refused, {whole} harmless");
        assert!(refused > 100 && whole > 100);
    }
}

#[test]
fn the_last_group_lost_before_a_seal_is_damage() {
    let store = store(true);
    let (path, start, end) = &store.groups[store.groups.len() - 2];
    let copy = store.medium.copy();
    for offset in *start..*end {
        copy.damage(path, offset, |byte| byte.fill(0));
    }
    let damage = store.damage_of(&copy);
    assert_eq!((&damage.path, damage.offset), (path, *start));
    assert!(damage.what.contains("later group"), "{damage}");
}

#[test]
fn a_torn_tail_is_cut_once_and_for_all() {
    let store = store(false);
    let (path, start, end) = store.groups.last().unwrap();
    let copy = store.medium.copy();
    copy.damage(path, end - 1, |byte| byte[0] ^= 1);
    let (_disk, recovered) = open(&copy, options(SMALL_SEGMENT));
    let mut notices = recovered.unwrap().notices;
    notices.retain(|notice| matches!(notice, Notice::TornTail { .. }));
    let last_index = store.state_at(store.last_group() - 1).last;
    let group = store.last_group();
    let (from, to) = (*start, *end);
    assert_eq!(
        notices,
        [Notice::TornTail {
            path: path.clone(),
            from,
            to,
            group,
            last_index
        }]
    );
    let text = notices[0].to_string();
    assert!(text.contains(&format!("bytes {start} to {end}")), "{text}");
    let (_disk, recovered) = open(&copy, options(SMALL_SEGMENT));
    let notices = recovered.unwrap().notices;
    assert!(
        !notices
            .iter()
            .any(|notice| matches!(notice, Notice::TornTail { .. })),
        "{notices:?}"
    );
}
