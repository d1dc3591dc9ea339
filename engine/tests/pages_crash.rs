//! Crashes after every write of long scripts, in every state that the disk may be left in; every operation
//! failing in turn; and every write lost, misdirected or changed in turn.
//!
//! Goal: what is opened afterwards is exactly the newest checkpoint, or the one whose meta page was on its way,
//! and the one before opens too as long as it is promised; a disk that lies is found out by page. Method: the
//! simulated disk, small stores, checkpoints and write-outs without one in small steps.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use btree_support::rig::{Rig, new_medium, path};
use btree_support::script::{CACHE_BYTES, End, Script, compare};
use btree_support::{Model, Random, Shape};
use reeve_engine::disk::simulated::{FailNth, Fault, Request, Verdict};
use reeve_engine::disk::{Action, SimulatedMedium};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

mod btree_support;

/// Crash images looked at, per moment: more than there are of six changes at risk, so that all of them are.
const IMAGES: usize = 1000;

const SHAPE: Shape = Shape {
    keys: 70,
    long_keys: true,
    big_blobs: false,
};

/// Operations take from 1 to 50 nanoseconds, so that they overtake each other.
fn jitter(seed: u64) -> impl FnMut(&Request<'_>) -> Verdict {
    let mut random = Random(seed | 1);
    move |_: &Request<'_>| Verdict::after(1 + random.below(50))
}

/// What an empty file holds.
fn nothing() -> BTreeMap<u64, Model> {
    BTreeMap::from([(0, Model::new())])
}

fn begin(medium: &SimulatedMedium, seed: u64) -> Script {
    let rig = Rig::open(medium, CACHE_BYTES, |_| true).unwrap();
    Script::new(rig, nothing(), seed, SHAPE)
}

/// Runs `part` on all cores, each with other seeds, and adds up what they answer.
fn on_all_cores(seeds: std::ops::Range<u64>, part: impl Fn(u64) -> u64 + Sync) -> u64 {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let run = |first: usize| {
        seeds
            .clone()
            .skip(first)
            .step_by(cores)
            .map(&part)
            .sum::<u64>()
    };
    std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..cores)
            .map(|first| scope.spawn(move || run(first)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    })
}

#[test]
fn every_crash_leaves_a_checkpoint() {
    let images = on_all_cores(0..4, |seed| {
        let mut script = begin(&new_medium(), seed);
        script.rig.medium.set_host(jitter(seed));
        let (mut images, mut seen) = (0, (0, 0));
        while script.rig.medium.operations() < 600 {
            let looked = script.step(&mut |script| {
                let medium = &script.rig.medium;
                let now = (medium.operations(), medium.at_risk());
                if std::mem::replace(&mut seen, now) != now {
                    for image in medium.crash_images(IMAGES) {
                        images += 1;
                        script.check_image(&image);
                    }
                }
            });
            looked.unwrap();
        }
        images
    });
    println!("{images} crash images opened");
    assert!(images > 20_000, "{images} images");
}

#[test]
fn a_store_goes_on_from_what_a_crash_has_left() {
    let checkpoints = on_all_cores(100..130, |seed| {
        let mut script = begin(&new_medium(), seed);
        let mut checkpoints = 0;
        for life in 0..12 {
            script.rig.medium.set_host(jitter(seed * 100 + life));
            for _ in 0..script.random.below(60) {
                script.step(&mut |_| {}).unwrap();
            }
            script.check_working_state().unwrap();
            checkpoints += script.newest;
            let mut images = script.rig.medium.crash_images(1000);
            let chosen = script.random.below(images.len() as u64) as usize;
            let image = images.swap_remove(chosen);
            let index = script.check_image(&image.copy());
            // Sometimes the log goes on only from the checkpoint before.
            let limit = index.saturating_sub(u64::from(script.random.below(4) == 0));
            let rig = Rig::open(&image, CACHE_BYTES, |applied| applied <= limit)
                .or_else(|_| Rig::open(&image, CACHE_BYTES, |_| true))
                .unwrap();
            script = Script::new(rig, script.states, seed * 1000 + life, SHAPE);
        }
        checkpoints
    });
    assert!(checkpoints > 2000, "{checkpoints} checkpoints");
}

/// Runs a script during which one operation fails, and checks what is left. Whether the script had so many
/// operations.
fn fail_one(number: u64, fault: Fault) -> bool {
    let medium = new_medium();
    let first = medium.operations();
    medium.set_host(FailNth {
        number: first + number,
        fault,
    });
    let Ok(rig) = Rig::open(&medium, CACHE_BYTES, |_| true) else {
        for image in medium.crash_images(IMAGES) {
            let rig = Rig::open(&image, CACHE_BYTES, |_| true).unwrap();
            compare(&rig, &Model::new()).unwrap();
        }
        return true;
    };
    let mut script = Script::new(rig, nothing(), 5, SHAPE);
    let mut end = Ok(());
    for _ in 0..250 {
        end = script.step(&mut |_| {});
        if end.is_err() {
            break;
        }
    }
    match end {
        Ok(()) | Err(End::NoRoom) => {}
        Err(End::WriteOut) => {
            let plan = script.rig.plan();
            assert!(
                script.rig.store.begin_checkpoint((99, 1), plan).is_none(),
                "nothing is written after a failure"
            );
            script.rig.store.publish();
            script.check_working_state().unwrap();
        }
        Err(End::Damage(damage)) => panic!("{damage}"),
    }
    for image in script.rig.medium.crash_images(IMAGES) {
        script.check_image(&image);
    }
    script.check_image(&script.rig.medium.copy());
    script.rig.medium.operations() > first + number
}

#[test]
fn every_operation_may_fail() {
    let faults = [Fault::Error(libc::EIO), Fault::NoSpace, Fault::PowerLoss];
    let failed = on_all_cores(0..faults.len() as u64, |which| {
        let fault = faults[which as usize];
        (0..).take_while(|number| fail_one(*number, fault)).count() as u64
    });
    println!("{failed} operations failed in turn");
    assert!(failed > 600, "{failed}");
}

/// Strikes one write of the page file, and says whether there were so many.
fn strike(medium: &SimulatedMedium, number: u64, fault: Fault) -> Rc<RefCell<bool>> {
    let struck = Rc::new(RefCell::new(false));
    let (seen, path) = (Rc::clone(&struck), path());
    let mut writes = 0;
    medium.set_host(move |request: &Request<'_>| {
        if request.action != Action::Write || request.path != path {
            return Verdict::PROMPT;
        }
        writes += 1;
        if writes != number + 1 {
            return Verdict::PROMPT;
        }
        *seen.borrow_mut() = true;
        Verdict::fault(fault)
    });
    struck
}

/// Runs a script with a disk that lies about one write. Whether there were so many writes, and whether the
/// lie was found out.
fn lie_once(number: u64, fault: Fault, seed: u64) -> (bool, bool) {
    let mut script = begin(&new_medium(), seed);
    let struck = strike(&script.rig.medium, number, fault);
    for _ in 0..120 {
        match script.step(&mut |_| {}) {
            Ok(()) => {}
            Err(End::Damage(_)) => return (true, true),
            Err(end) => panic!("a lie is not an error: {end:?}"),
        }
    }
    let mut found = script.check_working_state().is_err();
    for newest in [u64::MAX, script.newest.saturating_sub(1)] {
        match Rig::open(&script.rig.medium.copy(), CACHE_BYTES, |index| {
            index <= newest
        }) {
            Ok(rig) => {
                let compared = compare(&rig, &script.states[&rig.opened_at]);
                assert_eq!(compared.is_ok(), rig.store.verify().is_ok());
                found |= compared.is_err();
            }
            Err(_) => found = true,
        }
    }
    (struck.take(), found)
}

#[test]
fn a_disk_that_lies_is_found_out() {
    let faults = [
        Fault::LostWrite,
        Fault::Misdirected { offset: 11 * 8192 },
        Fault::Misdirected { offset: 0 },
        Fault::FlippedBit { bit: 12_345 },
        Fault::FlippedBit { bit: 70_000 },
    ];
    let found = on_all_cores(0..faults.len() as u64 * 2, |which| {
        let fault = faults[which as usize / 2];
        let lies = (0..).map(|number| lie_once(number, fault, 50 + which));
        let found = lies.take_while(|(struck, _)| *struck);
        found.filter(|(_, found)| *found).count() as u64
    });
    println!("{found} lies were found out");
    assert!(found > 100, "{found}");
}
