//! A session of the crate etcd-client against the server that the first argument names. Each step checks what comes back
//! and says what was checked; a failure panics.

use std::error::Error;
use std::time::Duration;

use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, DeleteOptions, EventType, GetOptions,
    LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp,
    TxnOpResponse, WatchOptions,
};
use tokio::time::timeout;

type Outcome = Result<(), Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let endpoint = std::env::args().nth(1).ok_or("no endpoint")?;
    let mut client = Client::connect([endpoint], None).await?;
    put_and_get(&mut client).await?;
    ranges(&mut client).await?;
    transactions(&mut client).await?;
    watch(&mut client).await?;
    leases(&mut client).await?;
    lock(&mut client).await?;
    compaction(&mut client).await?;
    status(&mut client).await?;
    println!("ok");
    Ok(())
}

async fn put_and_get(client: &mut Client) -> Outcome {
    client.put("rust/a", "1", None).await?;
    let options = PutOptions::new().with_prev_key();
    let answer = client.put("rust/a", "2", Some(options)).await?;
    assert_eq!(answer.prev_key().map(|pair| pair.value()), Some(&b"1"[..]));
    let answer = client.get("rust/a", None).await?;
    let [pair] = answer.kvs() else {
        panic!("one pair, not {:?}", answer.kvs());
    };
    assert_eq!((pair.key_str()?, pair.value_str()?), ("rust/a", "2"));
    assert_eq!(pair.version(), 2);
    assert_eq!(pair.mod_revision(), pair.create_revision() + 1);
    let options = GetOptions::new().with_revision(pair.create_revision());
    let before = client.get("rust/a", Some(options)).await?;
    assert_eq!(before.kvs()[0].value(), b"1");
    assert_eq!(client.get("rust/none", None).await?.count(), 0);
    println!("put and get");
    Ok(())
}

async fn ranges(client: &mut Client) -> Outcome {
    for number in 0..50 {
        client
            .put(
                format!("rust/r/{number:02}"),
                format!("{}", 99 - number),
                None,
            )
            .await?;
    }
    let prefix = || GetOptions::new().with_prefix();
    let all = client.get("rust/r/", Some(prefix())).await?;
    assert_eq!((all.count(), all.kvs().len(), all.more()), (50, 50, false));
    let some = client.get("rust/r/", Some(prefix().with_limit(10))).await?;
    assert_eq!(
        (some.count(), some.kvs().len(), some.more()),
        (50, 10, true)
    );
    let sorted = prefix()
        .with_sort(SortTarget::Value, SortOrder::Ascend)
        .with_limit(1);
    let first = client.get("rust/r/", Some(sorted)).await?;
    assert_eq!(first.kvs()[0].key(), b"rust/r/49");
    let count = client
        .get("rust/r/", Some(prefix().with_count_only()))
        .await?;
    assert_eq!((count.count(), count.kvs().len()), (50, 0));
    let options = DeleteOptions::new().with_prefix().with_prev_key();
    let deleted = client.delete("rust/r/", Some(options)).await?;
    assert_eq!((deleted.deleted(), deleted.prev_kvs().len()), (50, 50));
    println!("ranges and delete");
    Ok(())
}

async fn transactions(client: &mut Client) -> Outcome {
    client.put("rust/t", "1", None).await?;
    let swap = |expected: &str, new: &str| {
        Txn::new()
            .when([Compare::value("rust/t", CompareOp::Equal, expected)])
            .and_then([TxnOp::put("rust/t", new, None), TxnOp::get("rust/t", None)])
            .or_else([TxnOp::get("rust/t", None)])
    };
    let done = client.txn(swap("1", "2")).await?;
    assert!(done.succeeded());
    let not_done = client.txn(swap("1", "3")).await?;
    assert!(!not_done.succeeded());
    for answer in [done, not_done] {
        match answer.op_responses().last() {
            Some(TxnOpResponse::Get(get)) => assert_eq!(get.kvs()[0].value(), b"2"),
            other => panic!("the last operation is a get, not {other:?}"),
        }
    }
    let twice = Txn::new().and_then([
        TxnOp::put("rust/t", "4", None),
        TxnOp::put("rust/t", "5", None),
    ]);
    let refused = client.txn(twice).await.expect_err("one key put twice");
    assert!(
        refused
            .to_string()
            .contains("duplicate key given in txn request"),
        "{refused}"
    );
    println!("transactions");
    Ok(())
}

async fn watch(client: &mut Client) -> Outcome {
    let options = WatchOptions::new().with_prefix().with_prev_key();
    let mut stream = client.watch("rust/w/", Some(options)).await?;
    client.put("rust/w/a", "1", None).await?;
    client.put("rust/w/a", "2", None).await?;
    client.delete("rust/w/a", None).await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let answer = timeout(PATIENCE, stream.message())
            .await??
            .ok_or("the watch ended")?;
        for event in answer.events() {
            let value = event.kv().map(|pair| pair.value().to_vec());
            let before = event.prev_kv().map(|pair| pair.value().to_vec());
            seen.push((event.event_type() == EventType::Delete, value, before));
        }
    }
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    let expected = [
        (false, bytes("1"), None),
        (false, bytes("2"), bytes("1")),
        (true, bytes(""), bytes("2")),
    ];
    assert_eq!(seen, expected);
    stream.request_progress().await?;
    let progress = timeout(PATIENCE, stream.message())
        .await??
        .ok_or("no progress")?;
    assert!(progress.events().is_empty());
    stream.cancel(0).await?;
    println!("watch");
    Ok(())
}

async fn leases(client: &mut Client) -> Outcome {
    let options = LeaseGrantOptions::new().with_id(4242);
    let lease = client.lease_grant(600, Some(options)).await?;
    assert_eq!((lease.id(), lease.ttl()), (4242, 600));
    let options = PutOptions::new().with_lease(lease.id());
    client.put("rust/l", "1", Some(options)).await?;
    let (mut keeper, mut kept) = client.lease_keep_alive(lease.id()).await?;
    keeper.keep_alive().await?;
    let answer = timeout(PATIENCE, kept.message())
        .await??
        .ok_or("no answer")?;
    assert_eq!(answer.ttl(), 600);
    let options = LeaseTimeToLiveOptions::new().with_keys();
    let left = client.lease_time_to_live(lease.id(), Some(options)).await?;
    assert_eq!(
        (left.granted_ttl(), left.keys()),
        (600, &[b"rust/l".to_vec()][..])
    );
    let leases = client.leases().await?;
    assert!(leases.leases().iter().any(|status| status.id() == 4242));
    client.lease_revoke(lease.id()).await?;
    assert_eq!(client.get("rust/l", None).await?.count(), 0);
    println!("leases");
    Ok(())
}

/// A lock over keys alone: whoever creates the key first holds it; the next one waits for its deletion.
async fn lock(client: &mut Client) -> Outcome {
    let take = |owner: &str| {
        Txn::new()
            .when([Compare::create_revision("rust/lock", CompareOp::Equal, 0)])
            .and_then([TxnOp::put("rust/lock", owner, None)])
            .or_else([TxnOp::get("rust/lock", None)])
    };
    assert!(client.txn(take("first")).await?.succeeded());
    let held = client.txn(take("second")).await?;
    assert!(!held.succeeded());
    let revision = held.header().ok_or("no header")?.revision();
    let options = WatchOptions::new().with_start_revision(revision + 1);
    let mut stream = client.watch("rust/lock", Some(options)).await?;
    client.delete("rust/lock", None).await?;
    let event = loop {
        let answer = timeout(PATIENCE, stream.message())
            .await??
            .ok_or("the watch ended")?;
        if let Some(event) = answer.events().first() {
            break event.event_type();
        }
    };
    assert_eq!(event, EventType::Delete);
    assert!(client.txn(take("second")).await?.succeeded());
    assert_eq!(
        client.get("rust/lock", None).await?.kvs()[0].value(),
        b"second"
    );
    println!("lock");
    Ok(())
}

async fn compaction(client: &mut Client) -> Outcome {
    client.put("rust/c", "1", None).await?;
    let answer = client.put("rust/c", "2", None).await?;
    let revision = answer.header().ok_or("no header")?.revision();
    let options = CompactionOptions::new().with_physical();
    client.compact(revision, Some(options)).await?;
    let options = GetOptions::new().with_revision(revision - 1);
    let refused = client.get("rust/c", Some(options)).await;
    let refused = refused.expect_err("the revision is compacted");
    assert!(
        refused
            .to_string()
            .contains("required revision has been compacted"),
        "{refused}"
    );
    assert_eq!(client.get("rust/c", None).await?.kvs()[0].value(), b"2");
    println!("compaction");
    Ok(())
}

async fn status(client: &mut Client) -> Outcome {
    let status = client.status().await?;
    assert_eq!(status.version(), "3.7.3");
    assert_ne!(status.leader(), 0);
    let members = client.member_list().await?;
    assert_eq!(members.members().len(), 1);
    assert_eq!(members.members()[0].id(), status.leader());
    println!("status and members");
    Ok(())
}
