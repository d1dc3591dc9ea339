//! The checks can fail: histories as a server with a known fault would leave them are refused, each with the operations
//! that show it.

use std::time::Duration;

use super::{Call, Found, Operation, Outcome, porcupine, recorded, revisions};

/// An operation of a client of its own, from `called` to `returned` in milliseconds.
fn operation(call: Call, times: (u64, u64), outcome: Outcome, revision: i64) -> Operation {
    Operation {
        client: times.0 as usize,
        member: 0,
        key: "key".to_string(),
        call,
        called: Duration::from_millis(times.0),
        returned: Duration::from_millis(times.1),
        outcome,
        revision,
    }
}

fn put(value: &str, times: (u64, u64), revision: i64) -> Operation {
    let value = value.to_string();
    operation(Call::Put { value }, times, Outcome::Wrote, revision)
}

fn lost_answer(call: Call, times: (u64, u64)) -> Operation {
    operation(call, times, Outcome::Unknown, 0)
}

fn read(value: &str, mod_revision: i64) -> Outcome {
    let value = value.to_string();
    Outcome::Found(Some(Found {
        value,
        mod_revision,
    }))
}

fn get(outcome: Outcome, times: (u64, u64), revision: i64) -> Operation {
    operation(Call::Get, times, outcome, revision)
}

fn swap(expected: Option<&str>, value: &str) -> Call {
    Call::Swap {
        expected: expected.map(String::from),
        value: value.to_string(),
    }
}

/// Two writes one after the other, and reads that overlap them.
fn sound() -> Vec<Operation> {
    vec![
        get(Outcome::Found(None), (0, 5), 1),
        put("a", (1, 10), 2),
        get(read("a", 2), (8, 12), 2),
        put("b", (20, 30), 3),
        get(read("a", 2), (21, 25), 2),
        get(read("b", 3), (22, 28), 3),
        operation(swap(Some("a"), "c"), (31, 40), read("b", 3), 3),
        operation(swap(Some("b"), "d"), (32, 45), Outcome::Wrote, 4),
        lost_answer(Call::Delete, (50, 60)),
        get(read("d", 4), (55, 56), 4),
        get(Outcome::Found(None), (70, 80), 5),
        operation(swap(None, "e"), (81, 90), Outcome::Wrote, 6),
    ]
}

/// Whether porcupine takes the history; without porcupine the answer that the test wants.
fn accepted(test: &str, history: &[Operation], wanted: bool) -> bool {
    porcupine::check(test, history).map_or(wanted, |verdict| verdict.is_ok())
}

#[test]
fn a_sound_history_is_accepted() {
    assert!(accepted("sound", &sound(), true));
    assert_eq!(revisions::check(&sound()), Ok(()));
}

#[test]
fn a_lost_answer_may_have_happened_or_not() {
    let both = |second: Outcome| {
        vec![
            put("a", (0, 1), 2),
            lost_answer(swap(Some("a"), "b"), (2, 3)),
            get(second, (4, 5), 2),
        ]
    };
    assert!(accepted("lost_answer", &both(read("a", 2)), true));
    assert!(accepted("lost_answer", &both(read("b", 3)), true));
    assert!(!accepted("lost_answer", &both(read("c", 3)), false));
}

#[test]
fn a_stale_read_is_refused() {
    let mut history = sound();
    // Both writes were acknowledged before this read began.
    history.push(get(read("b", 3), (100, 110), 6));
    assert!(!accepted("stale_read", &history, false));
}

#[test]
fn a_lost_write_is_refused() {
    let history = vec![
        put("a", (0, 1), 2),
        put("b", (2, 3), 3),
        // As if the second had never been.
        get(read("a", 2), (4, 5), 2),
        put("c", (6, 7), 3),
    ];
    assert!(!accepted("lost_write", &history, false));
    assert!(revisions::check(&history).is_err());
}

#[test]
fn a_swap_that_two_clients_win_is_refused() {
    let history = vec![
        put("a", (0, 1), 2),
        operation(swap(Some("a"), "b"), (2, 9), Outcome::Wrote, 3),
        operation(swap(Some("a"), "c"), (3, 8), Outcome::Wrote, 4),
    ];
    assert!(!accepted("swap_twice", &history, false));
}

#[test]
fn a_write_that_is_carried_out_twice_is_refused() {
    let history = vec![
        put("a", (0, 1), 2),
        put("b", (2, 3), 3),
        get(read("a", 4), (4, 5), 4),
    ];
    assert!(!accepted("twice", &history, false));
}

#[test]
fn a_store_that_goes_back_between_keys_is_refused() {
    let mut other = get(Outcome::Found(None), (4, 5), 2);
    other.key = "other".to_string();
    let history = vec![put("a", (0, 1), 2), put("b", (2, 3), 3), other];
    // Nothing is wrong with either key alone.
    assert!(accepted("back", &history, true));
    let refused = revisions::check(&history);
    assert!(refused.is_err_and(|reason| reason.contains("went back")));
}

#[test]
fn a_change_that_is_missing_from_the_recorded_history_is_named() {
    let recorded = recorded::Changes::from([(2, recorded::Change::put("key", "a"))]);
    let history = [put("a", (0, 1), 2), put("b", (2, 3), 3)];
    let lost = recorded::compare(&history, &recorded);
    assert!(lost.is_err_and(|reason| reason.contains("lost") && reason.contains("\"b\"")));
    let unasked = recorded::compare(&[], &recorded);
    assert!(unasked.is_err_and(|reason| reason.contains("nobody asked for")));
    assert_eq!(recorded::compare(&history[..1], &recorded), Ok(()));
}
