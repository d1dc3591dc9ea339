//! An answer to a write means that the disk has flushed: one client's writes cannot share flushes, so each needs its own.

use crate::support::grpc::Client;
use crate::support::process::completed_flushes;
use crate::support::server::Launch;
use crate::support::{notice, run, turn};

const PUTS: u64 = 1000;

#[test]
fn each_put_of_one_client_flushes_the_disk() {
    let _turn = turn::alone();
    let server = Launch::under_test().start();
    let flushes = || completed_flushes(server.data_dir());
    let Some(before) = flushes() else {
        notice("skipped flushes: the build folder lies on no block device of its own");
        return;
    };
    run(async {
        let mut client = Client::connect(&server.endpoint()).await;
        for number in 0..PUTS {
            let key = format!("key {number}");
            client.put(key.as_bytes(), b"value").await.expect("a put");
        }
    });
    let flushed = flushes().expect("the device is still there") - before;
    assert!(
        flushed >= PUTS,
        "{PUTS} puts were answered after {flushed} flushes"
    );
}
