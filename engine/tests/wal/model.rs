//! Random histories against the model, with restarts in between.

use bytes::Bytes;
use proptest::prelude::*;
use reeve_engine::disk::Disk;
use reeve_engine::wal::{Lookup, Record, WalOptions};

use crate::harness::*;

/// One step of a history. Numbers are taken modulo what is possible at that moment.
#[derive(Debug, Clone)]
enum Step {
    Extend {
        count: u64,
        bytes: usize,
        new_term: bool,
    },
    Supersede {
        back: u64,
    },
    Vote {
        term: u64,
        vote: u64,
    },
    Configure {
        bytes: usize,
    },
    Point {
        back: u64,
    },
    Install {
        ahead: u64,
    },
    Truncate {
        back: u64,
    },
    Seal,
    Turn,
    Settle,
    Read {
        from: u64,
        count: u64,
        max_bytes: usize,
    },
    Restart {
        clean: bool,
        segment_blocks: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..5u64, 0..3000usize, any::<bool>())
            .prop_map(|(count, bytes, new_term)| Step::Extend { count, bytes, new_term }),
        1 => (0..20u64).prop_map(|back| Step::Supersede { back }),
        1 => (0..9u64, 0..4u64).prop_map(|(term, vote)| Step::Vote { term, vote }),
        1 => (0..1000usize).prop_map(|bytes| Step::Configure { bytes }),
        1 => (0..30u64).prop_map(|back| Step::Point { back }),
        1 => (0..40u64).prop_map(|ahead| Step::Install { ahead }),
        2 => (0..30u64).prop_map(|back| Step::Truncate { back }),
        1 => Just(Step::Seal),
        3 => Just(Step::Turn),
        2 => Just(Step::Settle),
        3 => (any::<u64>(), 1..30u64, 0..20_000usize)
            .prop_map(|(from, count, max_bytes)| Step::Read { from, count, max_bytes }),
        1 => (any::<bool>(), 4..12u64)
            .prop_map(|(clean, segment_blocks)| Step::Restart { clean, segment_blocks }),
    ]
}

fn take(mut rig: Rig, step: Step, options: &mut WalOptions) -> Rig {
    let (first, last, term) = (
        rig.state.first,
        rig.state.last,
        rig.state.last_term().max(1),
    );
    match step {
        Step::Extend {
            count,
            bytes,
            new_term,
        } => {
            let limit = (options.segment_bytes as usize / 4096 - 1) * 2000;
            let term = term + u64::from(new_term);
            for ahead in 1..=count {
                let data = vec![(last + ahead) as u8; bytes.min(limit)];
                rig.append(entry(last + ahead, term, &data));
            }
        }
        Step::Supersede { back } if last >= rig.state.replaceable_from() => {
            let index = last - back.min(last - rig.state.replaceable_from());
            rig.append(entry(index, term + 1, b"superseding"));
        }
        Step::Vote {
            term,
            vote: candidate,
        } => {
            rig.append(vote(term, candidate, last));
        }
        Step::Configure { bytes } => {
            rig.append(Record::Configuration(Bytes::from(vec![1; bytes])));
        }
        Step::Point { back } if last >= first => {
            let index = last - back.min(last - first);
            rig.append(point(index, rig.state.term_of(index).unwrap()));
        }
        Step::Install { ahead } => {
            rig.append(point(last + ahead, term + 1));
        }
        Step::Truncate { back } => rig.truncate_before((last + 1).saturating_sub(back)),
        Step::Seal => rig.wal.seal(),
        Step::Turn => rig.turn().unwrap(),
        Step::Settle => rig.settle().unwrap(),
        Step::Read {
            from,
            count,
            max_bytes,
        } if last >= first => {
            read(
                &mut rig,
                first + from % (last - first + 1),
                count,
                max_bytes,
            );
        }
        Step::Restart {
            clean,
            segment_blocks,
        } => {
            if clean {
                rig.wal.seal();
            }
            rig.settle().unwrap();
            assert!(!clean || rig.wal.is_sealed() || rig.wal.durable_position().0 == 0);
            options.segment_bytes = segment_blocks * 4096;
            rig = rig.restarted(*options);
        }
        _ => {}
    }
    rig
}

/// Entries of a range, wherever they are, are those of the model.
fn read(rig: &mut Rig, from: u64, count: u64, max_bytes: usize) {
    if rig.wal.entries(from, from + count, max_bytes) == Lookup::OnDisk {
        // A reading may overtake a flush; it ends before anything else is done here.
        rig.settle().unwrap();
    }
    let entries = rig.read(from, from + count, max_bytes);
    assert!(!entries.is_empty());
    let bytes: usize = entries.iter().map(|entry| entry.data.len()).sum();
    assert!(bytes <= max_bytes || entries.len() == 1);
    for (index, entry) in (from..from + count).zip(&entries) {
        assert_eq!(rig.state.entries.get(&index), Some(entry));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_the_model_says(
        steps in proptest::collection::vec(step(), 1..120),
        cache_bytes in prop_oneof![Just(0usize), Just(5000), Just(1 << 20)],
    ) {
        let mut options = WalOptions { cache_bytes, ..options(SMALL_SEGMENT) };
        let mut rig = Rig::on(medium(), options);
        for step in steps {
            rig = take(rig, step, &mut options);
            prop_assert_eq!(rig.wal.last_index(), rig.state.last);
            prop_assert_eq!(rig.wal.first_index(), rig.state.first);
            prop_assert_eq!(rig.wal.hard_state(), rig.state.hard_state);
            prop_assert!(rig.wal.durable_index() <= rig.wal.last_index());
            for index in rig.state.first.saturating_sub(1)..=rig.state.last {
                prop_assert_eq!(rig.wal.term_of(index), rig.state.term_of(index));
            }
        }
        rig.settle().unwrap();
        prop_assert!(!rig.wal.is_pending());
        prop_assert_eq!(rig.wal.durable_index(), rig.state.last);
        prop_assert_eq!(rig.wal.durable_hard_state(), rig.state.hard_state);
        prop_assert_eq!(rig.disk.outstanding(), 0);
        let expected = rig.state.clone();
        compare(&mut rig.wal, &mut rig.disk, &expected).unwrap();
        rig.restarted(options);
    }
}
