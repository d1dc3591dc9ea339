//! Keys, sizes, arrival times and rates: what a workload is made of.

use std::collections::HashMap;

use super::clock::{SECOND, parse_duration};
use super::keys::{KeySpace, Order, Zipfian, prefix_end};
use super::pacing::{Arrivals, parse_rates};
use super::sizes::{Sizes, Values};

#[test]
fn keys_have_their_size_and_order() {
    let space = KeySpace::new("p/", Sizes::Fixed(8), 12_345).unwrap();
    let key = |index| {
        let mut key = Vec::new();
        space.write(index, &mut key);
        String::from_utf8(key).unwrap()
    };
    assert_eq!(
        [key(0), key(7), key(12_344)],
        ["p/000000", "p/000007", "p/012344"]
    );
    assert_eq!(
        space.interval(),
        (b"p/000000".to_vec(), b"p/012344\0".to_vec())
    );
    assert!(
        KeySpace::new("p/", Sizes::Fixed(6), 12_345).is_err(),
        "five digits need five bytes"
    );
    assert!(KeySpace::new("p/", Sizes::Fixed(7), 12_345).is_ok());
    assert!(KeySpace::new("", Sizes::Fixed(7), 0).is_err());
}

#[test]
fn keys_of_varying_size_are_distinct_and_stable() {
    let space = KeySpace::new("v", Sizes::Uniform(5, 20), 1000).unwrap();
    let mut seen = HashMap::new();
    for index in 0..1000 {
        let mut key = Vec::new();
        space.write(index, &mut key);
        assert_eq!(key.len(), space.length(index));
        assert_eq!(seen.insert(key, index), None);
    }
}

#[test]
fn orders_choose_as_they_say() {
    let mut random = fastrand::Rng::with_seed(1);
    let space = KeySpace::new("", Sizes::Fixed(8), 1000).unwrap();
    let order = Order::parse("sequential", 1000, 0.99).unwrap();
    let first: Vec<u64> = (0..1002)
        .map(|_| space.choose(&order, &mut random))
        .collect();
    assert_eq!(
        (first[0], first[999], first[1000], first[1001]),
        (0, 999, 0, 1)
    );
    let share_of_top_ten = |name: &str, random: &mut fastrand::Rng| {
        let order = Order::parse(name, 1000, 0.99).unwrap();
        let mut counts = vec![0u32; 1000];
        for _ in 0..100_000 {
            counts[space.choose(&order, random) as usize] += 1;
        }
        counts.sort_unstable();
        counts.iter().rev().take(10).sum::<u32>()
    };
    let uniform = share_of_top_ten("uniform", &mut random);
    let zipfian = share_of_top_ten("zipfian", &mut random);
    assert!((900..1500).contains(&uniform), "{uniform}");
    assert!(
        zipfian > 30_000,
        "{zipfian}: ten of a thousand keys take over a third"
    );
    let latest = Order::parse("latest", 1000, 0.99).unwrap();
    let newest = (0..1000)
        .filter(|_| space.choose(&latest, &mut random) >= 990)
        .count();
    assert!(newest > 300, "{newest}");
    assert!(Order::parse("random", 1, 0.5).is_err());
}

#[test]
fn zipf_ranks_follow_the_law() {
    let zipfian = Zipfian::new(10_000, 0.99);
    let mut random = fastrand::Rng::with_seed(5);
    let mut counts = vec![0f64; 10_000];
    for _ in 0..1_000_000 {
        counts[zipfian.draw(&mut random) as usize] += 1.0;
    }
    // P(rank) ~ 1 / (rank + 1)^0.99
    let ratio = counts[0] / counts[99];
    let expected = 100f64.powf(0.99);
    assert!(
        (ratio / expected - 1.0).abs() < 0.25,
        "{ratio} against {expected}"
    );
}

#[test]
fn prefixes_end_where_the_next_begins() {
    assert_eq!(prefix_end(b"a"), b"b");
    assert_eq!(prefix_end(b"a\xff"), b"b");
    assert_eq!(prefix_end(b"\xff\xff"), [0]);
    assert_eq!(prefix_end(b""), [0]);
}

#[test]
fn sizes_are_read_and_drawn() {
    let mut random = fastrand::Rng::with_seed(2);
    let sizes: Sizes = "64:75,1024:25".parse().unwrap();
    let large = (0..10_000)
        .filter(|_| sizes.draw(&mut random) == 1024)
        .count();
    assert!((2300..2700).contains(&large), "{large}");
    let sizes: Sizes = "10..20".parse().unwrap();
    assert!((0..1000).all(|_| (10..=20).contains(&sizes.draw(&mut random))));
    let sizes: Sizes = "exp:100".parse().unwrap();
    let mean = (0..100_000).map(|_| sizes.draw(&mut random)).sum::<usize>() / 100_000;
    assert!((95..105).contains(&mean), "{mean}");
    for bad in ["", "x", "5..2", "5:0", "5:1,6", "99999999999", "-1", "exp:"] {
        assert!(bad.parse::<Sizes>().is_err(), "{bad:?} was read");
    }
    let values = Values::new(Sizes::Uniform(1, 5), 3);
    assert!((1..=5).contains(&values.draw(&mut random).len()));
}

#[test]
fn arrivals_are_even_and_shared() {
    let mut times = Vec::new();
    for worker in 0..3 {
        let mut arrivals = Arrivals::new(300.0, worker, 3);
        arrivals.start(7 * SECOND);
        while let Some(at) = arrivals.next_before(8 * SECOND) {
            times.push(at);
        }
    }
    times.sort_unstable();
    assert_eq!(times.len(), 300);
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        gaps.iter().all(|gap| gap.abs_diff(SECOND / 300) < 10),
        "{gaps:?}"
    );
}

#[test]
fn rates_and_durations_are_read() {
    assert_eq!(parse_rates("100,200").unwrap(), [100.0, 200.0]);
    assert_eq!(parse_rates("100..300/100").unwrap(), [100.0, 200.0, 300.0]);
    for bad in ["x", "3..1/1", "1..3", "1..3/0", "0,1", "-1", "1e20"] {
        assert!(parse_rates(bad).is_err(), "{bad:?} was read");
    }
    let millis = |text: &str| parse_duration(text).unwrap().as_millis();
    assert_eq!(
        [millis("1.5s"), millis("20ms"), millis("2m"), millis("3")],
        [1500, 20, 120_000, 3000]
    );
    for bad in ["", "s", "1x", "1.2.3s", "-1s"] {
        assert!(parse_duration(bad).is_err(), "{bad:?} was read");
    }
}
