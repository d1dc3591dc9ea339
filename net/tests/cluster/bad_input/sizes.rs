//! Requests at the edge of what an entry of the log can hold, and beyond it.

use bytes::Bytes;
use reeve_api::etcdserverpb::kv_methods;

use crate::members::{Plan, forms_clusters};
use crate::support::grpc::Client;
use crate::support::programs::only_for_reeve;
use crate::support::{run, turn};

/// The highest value of `--max-request-bytes`.
const LARGEST: usize = 31 << 20;

/// A compare (the key "a" was created at revision 1) as a part of a transaction. In the log it has more than twice as many
/// bytes.
const COMPARE: [u8; 9] = [0x0a, 7, 0x10, 1, 0x1a, 1, b'a', 0x28, 1];
const COMPARES: usize = 1_600_000;

/// What is to be done if all of them hold: a put. What only reads does not go through the log.
const PUT: [u8; 7] = [0x12, 5, 0x12, 3, 0x0a, 1, b'a'];

const REFUSAL: &str = "etcdserver: request is too large";

/// What no log takes is refused to its client, by the leader and by a follower, and no member stops.
#[test]
fn requests_that_no_entry_can_hold() {
    let test = "requests_that_no_entry_can_hold";
    let _turn = turn::alone();
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).directly().start_with(|_, launch| {
        launch
            .argument(format!("--max-request-bytes={LARGEST}"))
            .argument(format!("--max-txn-ops={COMPARES}"))
    });
    let leader = cluster.leader();
    let value = vec![b'x'; LARGEST - 1000];
    for asked in [leader, (leader + 1) % 3] {
        let endpoint = cluster.members[asked].endpoint();
        run(async {
            let mut client = Client::connect(&endpoint).await;
            let longer = vec![b'x'; LARGEST];
            let refusal = client.put(b"large", &longer).await;
            assert_eq!(refusal.expect_err("beyond the flag").message(), REFUSAL);
            let request = Bytes::from([COMPARE.repeat(COMPARES), PUT.to_vec()].concat());
            let refusal = client.call_raw(kv_methods::TXN, request).await;
            assert_eq!(refusal.expect_err("beyond the log").message(), REFUSAL);
            let put = client.put(b"large", &value).await;
            put.expect("the largest that is allowed");
        });
        cluster.assert_all_live();
    }
    for endpoint in cluster.endpoints() {
        run(async {
            let mut client = Client::connect(&endpoint).await;
            let found = client.get(b"large").await.expect("a read");
            assert_eq!(found.kvs[0].value.len(), value.len(), "{endpoint}");
        });
    }
}
