//! The log against a plain list of all entries.

use bytes::Bytes;

use crate::entry::{Entry, EntryKind, LogPoint};
use crate::log::Log;
use crate::random::Random;

/// What the log should be.
struct Model {
    start: LogPoint,
    entries: Vec<Entry>,
    memory_first: u64,
    written: u64,
}

impl Model {
    fn last(&self) -> LogPoint {
        self.entries.last().map_or(self.start, Entry::point)
    }

    fn term(&self, index: u64) -> Option<u64> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        let place = index.checked_sub(self.start.index + 1)?;
        self.entries.get(place as usize).map(|entry| entry.term)
    }

    fn bytes(&self, first: u64) -> u64 {
        self.range(first, self.last().index)
            .iter()
            .map(Entry::size)
            .sum()
    }

    fn range(&self, first: u64, last: u64) -> Vec<Entry> {
        let inside = |entry: &&Entry| entry.index >= first && entry.index <= last;
        self.entries.iter().filter(inside).cloned().collect()
    }
}

fn entry(index: u64, term: u64, random: &mut Random) -> Entry {
    let data = Bytes::from(vec![7; random.below(50) as usize]);
    Entry {
        term,
        index,
        kind: EntryKind::Command,
        data,
    }
}

fn compare(log: &Log, model: &Model, random: &mut Random) {
    assert_eq!(log.last(), model.last());
    assert_eq!(log.start(), model.start);
    let last = model.last().index;
    for index in 0..=last + 2 {
        assert_eq!(log.term(index), model.term(index), "term at {index}");
    }
    for _ in 0..5 {
        let index = u64::from(random.below(last as u32 + 3));
        let term = u64::from(random.below(model.last().term as u32 + 2));
        let expected = (model.start.index..=index.min(last))
            .rev()
            .find(|&at| model.term(at).is_some_and(|held| held <= term))
            .map_or(model.start, |at| LogPoint {
                index: at,
                term: model.term(at).unwrap(),
            });
        assert_eq!(
            log.last_with_term_up_to(index, term),
            expected,
            "{index} {term}"
        );
    }
    compare_memory(log, model, random);
}

fn compare_memory(log: &Log, model: &Model, random: &mut Random) {
    let (first, last) = (model.memory_first, model.last().index);
    assert_eq!(log.memory_first(), first);
    if first > last {
        return;
    }
    let from = first + u64::from(random.below((last - first + 1) as u32));
    let limit = u64::from(random.below(400));
    let end = log.batch_end(from, last, limit);
    let size = |to: u64| model.range(from, to).iter().map(Entry::size).sum::<u64>();
    assert_eq!(log.bytes(from, end), size(end));
    assert!(end == from || size(end) <= limit, "a batch keeps its limit");
    assert!(
        end == last || size(end + 1) > limit,
        "and is as long as it can be"
    );
    assert_eq!(log.share(from, end).to_vec(), model.range(from, end));
}

#[test]
fn the_log_behaves_like_a_list() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut log = Log::recovered(LogPoint::default(), Vec::new(), Vec::new());
        let mut model = Model {
            start: LogPoint::default(),
            entries: Vec::new(),
            memory_first: 1,
            written: 0,
        };
        for _ in 0..200 {
            step(&mut log, &mut model, &mut random);
            compare(&log, &model, &mut random);
        }
    }
}

fn step(log: &mut Log, model: &mut Model, random: &mut Random) {
    let last = model.last();
    match random.below(8) {
        0..4 => {
            let term = last.term.max(1) + u64::from(random.below(4) / 3);
            let new = entry(last.index + 1, term, random);
            log.push(new.clone());
            model.entries.push(new);
        }
        4 if last.index > model.start.index => {
            let length = (last.index - model.start.index) as u32;
            let index = last.index - u64::from(random.below(length.min(5)));
            log.truncate(index);
            model
                .entries
                .truncate((index - model.start.index - 1) as usize);
            model.memory_first = model.memory_first.min(index);
            model.written = model.written.min(index - 1);
        }
        5 => {
            let mut taken = Vec::new();
            log.take_unwritten(&mut taken);
            assert_eq!(taken, model.range(model.written + 1, last.index));
            model.written = last.index;
        }
        6 => {
            let up_to = model.written.saturating_sub(u64::from(random.below(3)));
            let bound = u64::from(random.below(600));
            log.evict(up_to, bound);
            while model.memory_first <= up_to && model.bytes(model.memory_first) > bound {
                model.memory_first += 1;
            }
        }
        7 if model.written > model.start.index && random.below(4) == 0 => {
            let room = (model.written - model.start.index) as u32;
            let index = model.start.index + u64::from(random.below(room + 1));
            let term = model.term(index).unwrap();
            log.compact(index);
            model.entries.retain(|entry| entry.index > index);
            model.start = LogPoint { index, term };
            model.memory_first = model.memory_first.max(index + 1);
        }
        _ => {}
    }
}
