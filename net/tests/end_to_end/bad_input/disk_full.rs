//! A disk that runs full: writes are refused with etcd's error, reads go on, and nothing that was acknowledged is lost,
//! neither then nor after a kill.

use crate::support::grpc::Client;
use crate::support::programs::only_for_reeve;
use crate::support::server::{Launch, Server};
use crate::support::small_disk::SmallDisk;
use crate::support::{notice, run, turn};

const MEGABYTES: u64 = 600;
const VALUE: usize = 64 << 10;

fn value(number: u64) -> Vec<u8> {
    format!("{number:08}").repeat(VALUE / 8).into_bytes()
}

/// Writes until the server refuses; the revisions of what it has acknowledged.
async fn fill(client: &mut Client) -> Vec<i64> {
    let mut revisions = Vec::new();
    for number in 0..MEGABYTES * (1 << 20) / VALUE as u64 {
        let key = format!("full {number}");
        match client.put(key.as_bytes(), &value(number)).await {
            Ok(revision) => revisions.push(revision),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
                let text = "etcdserver: mvcc: database space exceeded";
                assert_eq!(status.message(), text);
                return revisions;
            }
        }
    }
    panic!(
        "{} MiB were written on a disk of {MEGABYTES} MiB",
        (revisions.len() * VALUE) >> 20
    );
}

async fn check(server: &Server, revisions: &[i64]) {
    let mut client = Client::connect(&server.endpoint()).await;
    for (number, revision) in (0..).zip(revisions) {
        let key = format!("full {number}");
        let answer = client.get(key.as_bytes()).await.expect("reads go on");
        let [pair] = answer.kvs.as_slice() else {
            panic!("{key} is missing");
        };
        assert_eq!(pair.mod_revision, *revision);
        assert!(pair.value == value(number), "{key} has another value");
    }
}

#[test]
fn disk_full() {
    let _turn = turn::alone();
    // etcd ends when its disk is full.
    if !only_for_reeve("disk_full") {
        return;
    }
    let Some(disk) = SmallDisk::mount("disk_full", MEGABYTES) else {
        return;
    };
    let mut server = Launch::under_test()
        .data_dir(disk.path().join("data"))
        .start();
    let revisions = run(async {
        let mut client = Client::connect(&server.endpoint()).await;
        let revisions = fill(&mut client).await;
        // It stays so, and reads go on.
        client
            .put(b"one more", &value(0))
            .await
            .expect_err("the disk is full");
        revisions
    });
    assert!(!revisions.is_empty());
    run(check(&server, &revisions));
    server.kill();
    disk.grow();
    server.start_again();
    run(check(&server, &revisions));
    run(async {
        let mut client = Client::connect(&server.endpoint()).await;
        client.put(b"one more", b"fits again").await.expect("a put");
    });
    notice(&format!(
        "disk_full: refused after {} values",
        revisions.len()
    ));
}
