use super::*;
use std::collections::BTreeMap;

fn stream(id: u32) -> Stream {
    Stream { id, ..VACANT }
}

#[test]
fn agrees_with_a_map() {
    let mut streams = Streams::default();
    let mut model = BTreeMap::new();
    let mut ended = Vec::new();
    let mut random = 12_345_u64;
    for id in (1..40_000).step_by(2) {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let handle = streams.open(stream(id));
        assert!(model.insert(id, handle).is_none());
        while model.len() > 1 && !random.is_multiple_of(3) {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (random >> 40) as usize % model.len();
            let (&id, &handle) = model.iter().nth(at).unwrap();
            model.remove(&id);
            assert_eq!(streams.remove(handle).unwrap().id, id);
            assert!(streams.remove(handle).is_none());
            ended.push(handle);
        }
        assert_eq!(streams.len(), model.len());
        assert!(
            model
                .values()
                .all(|handle| streams.get(*handle).unwrap().id == handle.id)
        );
        assert!(
            model
                .iter()
                .all(|(id, handle)| streams.find(*id) == Some(*handle))
        );
        assert!(
            streams.places.len() <= 2 * model.len() + 34,
            "marks are swept"
        );
    }
    for handle in ended {
        assert!(streams.get(handle).is_none() && streams.find(handle.id).is_none());
    }
    let slots = streams.slots.len();
    assert!(model.values().all(|handle| handle.slot() < slots));
}

#[test]
fn a_long_lived_stream_costs_nothing_for_those_after_it() {
    let mut streams = Streams::default();
    let watch = streams.open(stream(1));
    for id in (3..100_001).step_by(2) {
        let handle = streams.open(stream(id));
        assert_eq!(handle.slot(), 1);
        streams.remove(handle);
    }
    assert_eq!((streams.places.len(), streams.find(1)), (1, Some(watch)));
}

#[test]
fn endings_are_remembered_for_a_while() {
    let mut ended = Ended::default();
    for id in 0..1_000 {
        ended.push(
            id,
            if id % 2 == 0 {
                Ending::Complete
            } else {
                Ending::OwnReset
            },
        );
    }
    assert_eq!(ended.find(999), Some(Ending::OwnReset));
    assert_eq!(ended.find(872), Some(Ending::Complete));
    assert_eq!(ended.find(871), None);
}
