//! Tests of mailboxes across executors.

use super::*;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

const SMALL: Capacity = Capacity {
    system: 2,
    client: 4,
};

#[test]
fn a_full_lane_gives_the_item_back_and_leaves_the_other_open() {
    let (sender, mut receiver) = mailbox(SMALL);
    for item in 0..4 {
        sender.push(Lane::Client, item).unwrap();
    }
    assert_eq!(sender.push(Lane::Client, 4), Err(Full(4)));
    sender.push(Lane::System, 100).unwrap();
    let mut order = Vec::new();
    assert_eq!(receiver.drain(3, |_, item| order.push(item)), 3);
    assert_eq!(order, [100, 0, 1]);
    assert_eq!(receiver.drain(usize::MAX, |_, item| order.push(item)), 2);
    assert!(sender.is_empty());
}

#[test]
fn every_item_arrives_and_no_wake_is_lost() {
    const ITEMS: u64 = 50_000;
    let sum = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mailbox(Capacity {
        system: 1,
        client: 64,
    });
    let ends = Arc::new(std::sync::Mutex::new((Some(sender), Some(receiver))));
    let total = Arc::clone(&sum);
    let reactors = Reactors::start(2, move |index| {
        let ends = Arc::clone(&ends);
        let total = Arc::clone(&total);
        async move {
            if index == 0 {
                let receiver = ends.lock().unwrap().1.take();
                receive(receiver.unwrap(), ITEMS, &total).await;
            } else {
                let sender = ends.lock().unwrap().0.take();
                produce(&sender.unwrap(), ITEMS).await;
            }
        }
    })
    .unwrap();
    reactors.join().unwrap();
    assert_eq!(sum.load(Ordering::Relaxed), ITEMS * (ITEMS - 1) / 2);
}

async fn receive(mut receiver: MailboxReceiver<u64>, items: u64, total: &AtomicU64) {
    let mut received = 0;
    while received < items {
        receiver.ready().await;
        receiver.drain(16, |_, item| {
            total.fetch_add(item, Ordering::Relaxed);
            received += 1;
        });
        glommio::yield_if_needed().await;
    }
}

async fn produce(sender: &MailboxSender<u64>, items: u64) {
    for item in 0..items {
        while sender.send(Lane::Client, item).is_err() {
            glommio::executor().yield_now().await;
        }
    }
}

#[test]
fn the_sequencer_has_a_core_to_itself_where_there_are_enough() {
    assert_eq!(client_reactors(1), 0..1);
    assert_eq!(client_reactors(3), 0..3);
    assert_eq!(client_reactors(4), 1..4);
}

#[test]
fn a_panic_of_a_reactor_is_reported() {
    assert!(available_cores() >= 1);
    assert!(raise_descriptor_limit() > 0);
    let reactors =
        Reactors::start(1, |index| async move { assert!(index > 5, "on purpose") }).unwrap();
    assert!(reactors.join().is_err());
}
