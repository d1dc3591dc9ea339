//! The search for an order, on histories small enough to judge by eye, and against brute force.

use super::history::{Answer, Call, Found, History, Operation};
use super::linear::check;

fn operation(
    id: usize,
    call: Call,
    from: u64,
    to: Option<u64>,
    answer: Option<Answer>,
) -> Operation {
    Operation {
        id,
        client: id,
        endpoint: "e".into(),
        key: "k".into(),
        call,
        invoked: from,
        returned: to,
        answer,
    }
}

fn put(id: usize, value: &str, from: u64, to: Option<u64>) -> Operation {
    let answer = to.map(|_| Answer {
        revision: 0,
        wrote: true,
        found: None,
    });
    operation(
        id,
        Call::Put {
            value: value.into(),
        },
        from,
        to,
        answer,
    )
}

fn get(id: usize, value: Option<&str>, from: u64, to: u64) -> Operation {
    let found = value.map(|value| Found {
        value: value.into(),
        mod_revision: 0,
        create_revision: 0,
        version: 0,
    });
    let answer = Answer {
        revision: 0,
        wrote: false,
        found,
    };
    operation(
        id,
        Call::Get {
            serializable: false,
        },
        from,
        Some(to),
        Some(answer),
    )
}

fn swap(
    id: usize,
    from_value: Option<&str>,
    to: &str,
    wrote: bool,
    times: (u64, u64),
) -> Operation {
    let call = Call::Swap {
        expected: 0,
        expected_value: from_value.map(str::to_owned),
        value: to.into(),
    };
    let answer = Answer {
        revision: 0,
        wrote,
        found: None,
    };
    operation(id, call, times.0, Some(times.1), Some(answer))
}

fn culprit(operations: Vec<Operation>) -> Option<usize> {
    let history = History {
        operations,
        changes: Vec::new(),
        watch_complete: false,
    };
    let (violations, undecided) = check(&history);
    assert!(undecided.is_empty());
    violations
        .first()
        .map(|violation| violation.operation.unwrap())
}

#[test]
fn overlapping_operations_may_come_in_any_order() {
    let writes = || vec![put(0, "a", 0, Some(10)), put(1, "b", 5, Some(15))];
    for value in ["a", "b"] {
        let mut history = writes();
        history.push(get(2, Some(value), 20, 30));
        assert_eq!(culprit(history), None);
    }
    let mut history = writes();
    history.push(get(2, None, 20, 30));
    assert_eq!(culprit(history), Some(2));
}

#[test]
fn a_read_does_not_go_back() {
    let history = vec![
        put(0, "a", 0, Some(10)),
        put(1, "b", 20, Some(30)),
        get(2, Some("a"), 40, 50),
    ];
    assert_eq!(culprit(history), Some(2));
    let history = vec![
        put(0, "a", 0, Some(10)),
        put(1, "b", 20, Some(90)),
        get(2, Some("b"), 30, 40),
        get(3, Some("a"), 50, 60),
    ];
    assert_eq!(
        culprit(history),
        Some(3),
        "a read saw the new value, a later one the old"
    );
}

#[test]
fn unknown_outcomes_may_happen_late_or_never() {
    for value in ["a", "b"] {
        let history = vec![
            put(0, "a", 0, Some(10)),
            put(1, "b", 20, None),
            get(2, Some("a"), 30, 40),
            get(3, Some(value), 1_000, 1_010),
        ];
        assert_eq!(culprit(history), None);
    }
    let history = vec![
        put(1, "b", 20, None),
        get(2, Some("b"), 30, 40),
        get(3, None, 50, 60),
    ];
    assert!(culprit(history).is_some(), "what was seen cannot vanish");
}

#[test]
fn two_swaps_of_one_value_cannot_both_succeed() {
    let history = |both| {
        vec![
            put(0, "a", 0, Some(10)),
            swap(1, Some("a"), "b", true, (20, 40)),
            swap(2, Some("a"), "c", both, (20, 40)),
        ]
    };
    assert!(culprit(history(true)).is_some());
    let mut right = history(false);
    // The one that failed read what the other wrote.
    if let Some(answer) = &mut right[2].answer {
        answer.found = Some(Found {
            value: "b".into(),
            mod_revision: 0,
            create_revision: 0,
            version: 0,
        });
    }
    assert_eq!(culprit(right), None);
}

/// Whether some order of the operations explains the history, by trying them all.
fn brute_force(operations: &[Operation], placed: &mut Vec<usize>, value: Option<&str>) -> bool {
    let left: Vec<usize> = (0..operations.len())
        .filter(|index| !placed.contains(index))
        .collect();
    if left.iter().all(|&index| operations[index].answer.is_none()) {
        return true;
    }
    let returned = |index: &usize| operations[*index].returned.unwrap_or(u64::MAX);
    let horizon = left.iter().map(returned).min().unwrap();
    for &index in left
        .iter()
        .filter(|&&index| operations[index].invoked <= horizon)
    {
        let operation = &operations[index];
        let next = match &operation.call {
            Call::Put { value } => Some(value.as_str()),
            _ => {
                let found = operation
                    .answer
                    .as_ref()
                    .and_then(|answer| answer.found.as_ref());
                if found.map(|found| found.value.as_str()) != value {
                    continue;
                }
                value
            }
        };
        placed.push(index);
        if brute_force(operations, placed, next) {
            return true;
        }
        placed.pop();
    }
    false
}

#[test]
fn the_search_agrees_with_brute_force() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut wrong = 0;
    for _ in 0..3_000 {
        let count = random.usize(2..8);
        let operations: Vec<Operation> = (0..count)
            .map(|id| {
                let from = random.u64(0..40);
                let to = from + random.u64(1..30);
                if random.bool() {
                    let value = ["a", "b", "c"][random.usize(..3)];
                    put(id, value, from, (random.u32(..6) > 0).then_some(to))
                } else {
                    get(
                        id,
                        [None, Some("a"), Some("b")][random.usize(..3)],
                        from,
                        to,
                    )
                }
            })
            .collect();
        let explained = brute_force(&operations, &mut Vec::new(), None);
        wrong += u32::from(!explained);
        assert_eq!(
            culprit(operations.clone()).is_none(),
            explained,
            "{operations:#?}"
        );
    }
    assert!(
        (300..2_700).contains(&wrong),
        "{wrong} of 3,000 histories are wrong: poor mix"
    );
}

/// The search must look at what is near, not at the rest of the history, or this takes hours.
#[test]
fn a_long_history_is_decided() {
    let operations = (0..400_000usize).map(|id| {
        let (from, value) = (id as u64 * 10, (id / 2).to_string());
        if id % 2 == 0 {
            put(id, &value, from, Some(from + 5))
        } else {
            get(id, Some(&value), from, from + 5)
        }
    });
    let history = History {
        operations: operations.collect(),
        ..History::default()
    };
    let (violations, undecided) = check(&history);
    assert_eq!((violations, undecided), (Vec::new(), Vec::new()));
}
