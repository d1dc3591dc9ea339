//! The lessor against etcd's rules, with made-up times.

use super::{Lessor, LessorOptions, Renewal, clamp_ttl, minimum_ttl};

const START: u64 = 1_000_000;

fn primary() -> Lessor {
    let mut lessor = Lessor::new(LessorOptions::default());
    lessor.promote(0, START);
    lessor
}

fn expired(lessor: &mut Lessor, now_ms: u64) -> Vec<i64> {
    let mut ids = Vec::new();
    lessor.expired(now_ms, 500, &mut ids);
    ids
}

#[test]
fn the_minimum_follows_the_election_timeout() {
    assert_eq!(minimum_ttl(100, 1000), 2);
    assert_eq!(minimum_ttl(100, 5000), 8);
    assert_eq!(minimum_ttl(10, 100), 1);
    assert_eq!(minimum_ttl(0, 0), 0);
    assert_eq!(clamp_ttl(-7, 2), 2);
    assert_eq!(clamp_ttl(0, 2), 2);
    assert_eq!(clamp_ttl(3, 2), 3);
}

#[test]
fn a_lease_runs_out_at_its_deadline_and_is_named_until_it_is_revoked() {
    let mut lessor = primary();
    lessor.granted(7, 10, START);
    assert_eq!(expired(&mut lessor, START + 9_999), []);
    assert_eq!(lessor.remaining_ttl(7, START + 4_500), Some(5));
    assert_eq!(expired(&mut lessor, START + 10_000), [7]);
    assert_eq!(expired(&mut lessor, START + 10_001), []);
    assert_eq!(lessor.remaining_ttl(7, START + 12_500), Some(-2));
    assert_eq!(expired(&mut lessor, START + 17_000), [7]);
    lessor.revoked(7);
    assert_eq!(expired(&mut lessor, START + 99_000), []);
    assert_eq!(lessor.remaining_ttl(7, START), None);
    assert_eq!(lessor.next_deadline_ms(), None);
}

#[test]
fn keeping_alive_puts_the_deadline_off() {
    let mut lessor = primary();
    lessor.granted(7, 10, START);
    for second in 1..100 {
        let now = START + 1000 * second;
        assert_eq!(lessor.renew(7, now), Renewal::Renewed(10));
        assert_eq!(expired(&mut lessor, now + 999), []);
    }
    assert_eq!(expired(&mut lessor, START + 108_999), []);
    assert_eq!(expired(&mut lessor, START + 109_000), [7]);
    assert_eq!(lessor.renew(7, START + 109_000), Renewal::Expired);
    lessor.revoked(7);
    assert_eq!(lessor.renew(7, START + 109_001), Renewal::Unknown);
}

#[test]
fn short_leases_get_the_minimum() {
    let mut lessor = primary();
    lessor.granted(1, -5, START);
    assert_eq!(lessor.granted_ttl(1), Some(2));
    assert_eq!(expired(&mut lessor, START + 1_999), []);
    assert_eq!(expired(&mut lessor, START + 2_000), [1]);
}

#[test]
fn the_longest_lease_does_not_overflow() {
    let mut lessor = primary();
    lessor.granted(1, super::MAX_TTL, u64::MAX - 5);
    assert_eq!(expired(&mut lessor, u64::MAX - 1), []);
    lessor.demote();
    lessor.promote(u64::MAX, START);
    assert_eq!(expired(&mut lessor, u64::MAX - 1), []);
}

#[test]
fn without_leadership_nothing_runs_out() {
    let mut lessor = Lessor::new(LessorOptions::default());
    lessor.granted(7, 10, START);
    assert_eq!(expired(&mut lessor, START + 1_000_000), []);
    assert_eq!(lessor.renew(7, START), Renewal::NotPrimary);
    assert_eq!(lessor.remaining_ttl(7, START), Some(super::FOREVER_SECONDS));
    // A new leader gives all leases their whole life, and one election timeout.
    let led = START + 1_000_000;
    lessor.promote(1_000, led);
    assert_eq!(expired(&mut lessor, led + 10_999), []);
    assert_eq!(expired(&mut lessor, led + 11_000), [7]);
    lessor.demote();
    assert_eq!(expired(&mut lessor, led + 99_000), []);
}

#[test]
fn a_checkpoint_shortens_the_life_after_a_change_of_leaders() {
    let mut lessor = primary();
    lessor.granted(7, 100, START);
    lessor.checkpointed(7, 30);
    lessor.demote();
    lessor.promote(1_000, START);
    assert_eq!(lessor.remaining_ttl(7, START), Some(31));
    assert_eq!(lessor.renew(7, START), Renewal::Renewed(100));
    assert_eq!(lessor.remaining_ttl(7, START), Some(100));
}

#[test]
fn a_pass_names_no_more_than_its_limit_and_the_rest_the_next_time() {
    let mut lessor = primary();
    for id in 1..=1200 {
        lessor.granted(id, 5, START);
    }
    let now = START + 5_000;
    assert_eq!(expired(&mut lessor, now), (1..=500).collect::<Vec<_>>());
    assert_eq!(expired(&mut lessor, now).len(), 500);
    assert_eq!(expired(&mut lessor, now).len(), 200);
    assert_eq!(expired(&mut lessor, now), []);
}

#[test]
fn a_new_leader_spreads_very_many_deadlines() {
    let mut lessor = Lessor::new(LessorOptions::default());
    for id in 1..=10_000 {
        lessor.granted(id, 5, START);
    }
    lessor.promote(1_000, START);
    let mut now = START + 6_000;
    let mut named = Vec::new();
    lessor.expired(now - 1, usize::MAX, &mut named);
    assert_eq!(named, []);
    let mut seconds = 0;
    let mut total = 0;
    while total < 10_000 {
        named.clear();
        lessor.expired(now, usize::MAX, &mut named);
        assert!(named.len() <= 1000, "{} run out at once", named.len());
        for id in &named {
            lessor.revoked(*id);
        }
        total += named.len();
        now += 1_000;
        seconds += 1;
        assert!(seconds < 60);
    }
    assert!(seconds > 10);
    // Few leases are not put off.
    let mut lessor = Lessor::new(LessorOptions::default());
    (1..=999).for_each(|id| lessor.granted(id, 5, START));
    lessor.promote(0, START);
    lessor.expired(START + 5_000, usize::MAX, &mut named);
    assert_eq!(lessor.next_deadline_ms(), Some(START + 12_000));
}

#[test]
fn ids_come_in_order() {
    let mut lessor = primary();
    for id in [5, -3, 9, 1] {
        lessor.granted(id, 10, START);
    }
    assert_eq!(lessor.ids().collect::<Vec<_>>(), [-3, 1, 5, 9]);
    assert_eq!(lessor.len(), 4);
    assert!(lessor.contains(-3) && !lessor.contains(2) && !lessor.is_empty());
}
