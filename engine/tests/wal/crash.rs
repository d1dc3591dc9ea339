//! Crashes after every operation of a long script, in every state that the disk may be left in;
//! crashes during recovery; and every single operation failing in turn.

use std::collections::BTreeMap;

use bytes::Bytes;
use reeve_engine::disk::simulated::{FailNth, Fault, Request, Verdict};
use reeve_engine::disk::{Disk, SimulatedMedium};
use reeve_engine::wal::{Event, Notice, Record, Space, WalError};

use crate::harness::*;

/// Does something random to the log.
fn act(rig: &mut Rig, chance: &mut Chance) {
    let (last, term) = (rig.state.last, rig.state.last_term().max(1));
    match chance.below(16) {
        0..8 => {
            let term = term + u64::from(chance.below(8) == 0);
            for ahead in 1..=1 + chance.below(3) {
                let data = vec![chance.below(256) as u8; chance.below(1800) as usize];
                rig.append(entry(last + ahead, term, &data));
            }
        }
        8 => {
            rig.append(vote(term, chance.below(4), last));
        }
        9 if last > rig.state.replaceable_from() => {
            let index = last - chance.below(last - rig.state.replaceable_from());
            rig.append(entry(index, term + 1, b"supersedes"));
        }
        10 => {
            let configuration = Bytes::from(vec![7; chance.below(300) as usize]);
            rig.append(Record::Configuration(configuration));
        }
        11 | 12 if last > rig.state.first + 12 => {
            let index = last - 1 - chance.below(10);
            let term = rig.state.term_of(index).unwrap();
            rig.append(point(index, term));
            rig.truncate_before(index - chance.below(5));
        }
        13 if chance.below(4) == 0 => {
            rig.append(point(last + 1 + chance.below(50), term + 1));
        }
        14 => rig.wal.seal(),
        _ => {}
    }
}

/// Lets some of the operations under way complete, and calls `look` after each step.
fn go_on(rig: &mut Rig, steps: u64, look: &mut dyn FnMut(&Rig)) -> Result<(), WalError> {
    rig.wal.pump(&mut rig.disk)?;
    look(rig);
    for _ in 0..steps {
        if rig.disk.outstanding() == 0 {
            return Ok(());
        }
        if let Some(due) = rig.medium.next_due() {
            rig.medium.advance_to(due);
        }
        look(rig);
        let mut completions = Vec::new();
        rig.disk.reap(&mut completions);
        for completion in completions {
            let event = rig.wal.on_completion(&mut rig.disk, completion)?;
            if event == Some(Event::Space(Space::Full)) {
                rig.wal.retry_space();
            }
            rig.wal.pump(&mut rig.disk)?;
            look(rig);
        }
    }
    Ok(())
}

/// Operations take from 1 to 50 nanoseconds, so that they overtake each other.
fn jitter(seed: u64) -> impl FnMut(&Request<'_>) -> Verdict {
    let mut chance = Chance::new(seed);
    move |_: &Request<'_>| Verdict::after(1 + chance.below(50))
}

/// Opens a log as a crash has left it. It must hold all that was acknowledged, and at most the one
/// group more that was in flight. Returns that last group.
fn check_image(rig: &Rig, image: &SimulatedMedium) -> u64 {
    let acknowledged = rig.wal.durable_position().0;
    let (mut disk, recovered) = open(image, options(SMALL_SEGMENT));
    let mut recovered = recovered.unwrap_or_else(|error| panic!("refused: {error}"));
    let last = recovered.wal.durable_position().0;
    assert!(
        last == acknowledged || last == acknowledged + 1,
        "group {acknowledged} was acknowledged, and {last} is the last one found"
    );
    compare(&mut recovered.wal, &mut disk, rig.state_at(last)).unwrap();
    for notice in recovered.notices {
        if let Notice::TornTail { group, .. } = notice {
            assert_eq!(group, last + 1);
        }
    }
    last
}

/// Crash images looked at, per call.
const IMAGES: usize = 1000;

#[test]
fn every_crash_leaves_all_that_was_acknowledged() {
    let (mut operations, mut images) = (0, 0);
    for seed in 0..8 {
        let mut chance = Chance::new(seed);
        let mut rig = Rig::new(SMALL_SEGMENT);
        rig.medium.set_host(jitter(seed));
        let mut seen = (0, 0);
        while rig.medium.operations() < 700 {
            act(&mut rig, &mut chance);
            let steps = chance.below(4);
            go_on(&mut rig, steps, &mut |rig| {
                let now = (rig.medium.operations(), rig.medium.at_risk());
                if now != seen {
                    seen = now;
                    for image in rig.medium.crash_images(IMAGES) {
                        images += 1;
                        check_image(rig, &image);
                    }
                }
            })
            .unwrap();
        }
        operations += rig.medium.operations();
    }
    println!("{operations} operations, {images} crash images recovered");
    assert!(
        operations >= 5000 && images > 50_000,
        "{operations} operations, {images} images"
    );
}

#[test]
fn a_recovered_log_goes_on_and_crashes_again() {
    for seed in 100..140 {
        let mut chance = Chance::new(seed);
        let mut rig = Rig::new(SMALL_SEGMENT);
        for life in 0..12 {
            rig.medium.set_host(jitter(seed * 100 + life));
            for _ in 0..chance.below(40) {
                act(&mut rig, &mut chance);
                let steps = chance.below(5);
                go_on(&mut rig, steps, &mut |_| {}).unwrap();
            }
            let mut images = rig.medium.crash_images(1000);
            let image = images.swap_remove(chance.below(images.len() as u64) as usize);
            let last = check_image(&rig, &image.copy());
            let (disk, recovered) = open(&image, options(SMALL_SEGMENT));
            let wal = recovered.unwrap().wal;
            assert_eq!(
                wal.durable_position().0,
                last,
                "recovery says the same twice"
            );
            let state = rig.state_at(last).clone();
            rig = Rig::found(image, disk, wal, state, &rig.history, rig.appended);
        }
        let (medium, state) = rig.stop();
        let (mut disk, recovered) = open(&medium, options(SMALL_SEGMENT));
        compare(&mut recovered.unwrap().wal, &mut disk, &state).unwrap();
    }
}

/// Recovers an image with the power failing at one operation of the recovery, and each of some states
/// that this leaves in the same way, `depth` times over. False if the recovery was over before.
fn crash_recovery(
    rig: &Rig,
    image: &SimulatedMedium,
    number: u64,
    depth: u32,
    chance: &mut Chance,
    count: &mut u64,
) -> bool {
    let trial = image.copy();
    trial.set_host(FailNth {
        number,
        fault: Fault::PowerLoss,
    });
    let (disk, recovered) = open(&trial, options(SMALL_SEGMENT));
    if let Ok(recovered) = recovered {
        // What it has reported is there for good.
        let reported = recovered.wal.durable_position().0;
        drop((recovered, disk));
        for left in trial.crash_images(20) {
            assert_eq!(check_image(rig, &left), reported);
        }
        return false;
    }
    for left in trial.crash_images(6) {
        *count += 1;
        check_image(rig, &left.copy());
        if depth > 1 {
            let number = chance.below(40);
            crash_recovery(rig, &left, number, depth - 1, chance, count);
        }
    }
    true
}

#[test]
fn recovery_may_crash_at_any_point() {
    let mut count = 0;
    for seed in 200..204 {
        let mut chance = Chance::new(seed);
        let mut rig = Rig::new(SMALL_SEGMENT);
        rig.medium.set_host(jitter(seed));
        for round in 0..60 {
            act(&mut rig, &mut chance);
            go_on(&mut rig, 2, &mut |_| {}).unwrap();
            if round % 6 == 5 {
                for image in rig.medium.crash_images(5) {
                    let mut crash =
                        |number| crash_recovery(&rig, &image, number, 3, &mut chance, &mut count);
                    assert!((0..).take_while(|number| crash(*number)).count() > 5);
                }
            }
        }
    }
    println!("{count} crash images of recoveries");
    assert!(count > 5_000, "{count}");
}

/// Runs a script during which one operation fails, and checks what is left. False if the script has
/// fewer operations than that.
fn fail_one(number: u64, fault: Fault) -> bool {
    let medium = medium();
    medium.set_host(FailNth { number, fault });
    let mut disk = medium.attach();
    let opened = reeve_engine::wal::Wal::open(&mut disk, &directory(), options(SMALL_SEGMENT));
    let state = State::new();
    let Ok(recovered) = opened else {
        drop(disk);
        for image in medium.crash_images(50).into_iter().chain([medium.copy()]) {
            let (mut disk, recovered) = open(&image, options(SMALL_SEGMENT));
            let mut recovered = recovered.unwrap_or_else(|error| panic!("{number}: {error}"));
            compare(&mut recovered.wal, &mut disk, &state).unwrap();
        }
        return true;
    };
    let history = BTreeMap::from([(0, state.clone())]);
    let mut rig = Rig {
        medium,
        disk,
        wal: recovered.wal,
        state,
        history,
        events: Vec::new(),
        appended: BTreeMap::new(),
    };
    let mut chance = Chance::new(5);
    let mut outcome = Ok(());
    for _ in 0..90 {
        act_if_alive(&mut rig, &mut chance);
        outcome = go_on(&mut rig, 4, &mut |_| {});
        if outcome.is_err() {
            break;
        }
    }
    if outcome.is_ok() {
        outcome = go_on(&mut rig, 10_000, &mut |_| {});
    }
    if outcome.is_ok() {
        assert!(
            !rig.wal.is_pending(),
            "everything was flushed in spite of {fault:?} at {number}"
        );
    } else {
        assert!(
            rig.wal.append(entry(1, 1, b"")).is_err(),
            "a log that has failed stays so"
        );
    }
    for image in rig.medium.crash_images(20) {
        check_image(&rig, &image);
    }
    check_image(&rig, &rig.medium.copy());
    let has_failed = rig.medium.operations() > number;
    if matches!(fault, Fault::Error(_)) {
        check_next_start(&rig);
    }
    has_failed
}

/// The process starts again on the disk as it is, and power fails only then: what the start has reported is still there,
/// although a flush of it may have failed before.
fn check_next_start(rig: &Rig) {
    rig.medium.set_host(|_: &Request<'_>| Verdict::PROMPT);
    let (disk, recovered) = open(&rig.medium, options(SMALL_SEGMENT));
    let recovered = recovered.unwrap_or_else(|error| panic!("refused: {error}"));
    let reported = recovered.wal.durable_position().0;
    drop((recovered, disk));
    for image in rig.medium.crash_images(20) {
        assert_eq!(check_image(rig, &image), reported);
    }
}

fn act_if_alive(rig: &mut Rig, chance: &mut Chance) {
    if rig.wal.pump(&mut rig.disk).is_ok() {
        act(rig, chance);
    }
}

#[test]
fn every_operation_may_fail() {
    for fault in [Fault::Error(libc::EIO), Fault::NoSpace, Fault::PowerLoss] {
        let count = (0..).take_while(|number| fail_one(*number, fault)).count();
        println!("{fault:?}: {count} operations failed in turn");
        assert!(count > 200, "{count}");
    }
}

#[test]
fn a_log_read_from_a_volatile_cache_is_flushed_before_it_is_reported() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.extend(2, 10);
    rig.settle().unwrap();
    // The next group is written, and the process is killed before its flush: a read finds it.
    let number = rig.medium.operations();
    rig.medium.set_host(FailNth {
        number,
        fault: Fault::PowerLoss,
    });
    rig.extend(1, 10);
    assert!(rig.settle().is_err());
    let kept = rig.medium.crash_images(1000);
    let with_it: Vec<_> = kept
        .iter()
        .filter(|image| check_image(&rig, &image.copy()) == 2)
        .collect();
    assert!(!with_it.is_empty());
    for image in with_it {
        let unflushed = unflush(image);
        let (_disk, recovered) = open(&unflushed, options(SMALL_SEGMENT));
        assert_eq!(recovered.unwrap().wal.durable_position().0, 2);
        for image in unflushed.crash_images(1000) {
            assert_eq!(
                check_image(&rig, &image),
                2,
                "it was reported, so it must stay"
            );
        }
    }
}

/// The same disk with its first group's blocks written again, but not flushed.
fn unflush(image: &SimulatedMedium) -> SimulatedMedium {
    use reeve_engine::disk::{AlignedBuffer, OpenOptions, Operation, Outcome};
    let copy = image.copy();
    let path = copy.files()[0].clone();
    let bytes = copy.read_file(&path).unwrap();
    // Take the last group away durably, then write it back without a flush.
    let (offset, block) = (2 * 4096, AlignedBuffer::copy_of(&bytes[2 * 4096..3 * 4096]));
    for at in 0..4096 {
        copy.damage(&path, offset + at, |byte| byte.fill(0));
    }
    let mut disk = copy.attach();
    let mut completions = Vec::new();
    disk.submit(
        0,
        Operation::Open {
            path,
            options: OpenOptions::read_write(),
        },
    );
    disk.wait(&mut completions);
    let Some(Ok(Outcome::Opened { file, .. })) = completions.pop().map(|done| done.result) else {
        panic!("not opened")
    };
    disk.submit(
        0,
        Operation::Write {
            file,
            offset,
            buffer: block,
        },
    );
    disk.wait(&mut completions);
    assert_eq!(copy.at_risk(), 1);
    copy
}
