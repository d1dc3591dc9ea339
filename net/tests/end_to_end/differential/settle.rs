//! Takes out of an answer what may differ between two servers that behave alike.

use bytes::Bytes;
use reeve_api::etcdserverpb::range_request::SortTarget;
use reeve_api::etcdserverpb::*;
use reeve_api::mvccpb::KeyValue;

use super::call::{Answer, Call, Identity, Reply};

/// What the server's own identifiers are replaced with.
const MASKED: u64 = 1;
/// Go's sort keeps equal elements in order up to this many; beyond it their order is not defined.
const STABLE_SORT: usize = 12;
/// A lease that was granted or renewed within a test has at most so many seconds less than its full time.
const LEASE_SLACK: i64 = 600;

/// The answer with identifiers masked and undefined orders put in one order.
pub fn answer(call: &Call, answer: Answer, identity: &Identity) -> Answer {
    let mut answer = answer;
    if let Ok(reply) = &mut answer {
        header(reply, identity);
        match (call, reply) {
            (Call::Range(request), Reply::Range(response)) => range(request, response),
            (Call::Txn(request), Reply::Txn(response)) => transaction(request, response),
            (Call::TimeToLive(_), Reply::TimeToLive(response)) => time_to_live(response),
            (Call::Leases, Reply::Leases(response)) => {
                response.leases.sort_by_key(|lease| lease.id);
            }
            (Call::Members(_), Reply::Members(response)) => members(response, identity),
            _ => {}
        }
    }
    answer
}

fn header(reply: &mut Reply, identity: &Identity) {
    let header = match reply {
        Reply::Range(response) => &mut response.header,
        Reply::Put(response) => &mut response.header,
        Reply::DeleteRange(response) => &mut response.header,
        Reply::Txn(response) => &mut response.header,
        Reply::Compact(response) => &mut response.header,
        Reply::Grant(response) => &mut response.header,
        Reply::Revoke(response) => &mut response.header,
        Reply::KeepAlive(response) => &mut response.header,
        Reply::TimeToLive(response) => &mut response.header,
        Reply::Leases(response) => &mut response.header,
        Reply::HashKv(response) => &mut response.header,
        Reply::Members(response) => &mut response.header,
    };
    if let Some(header) = header {
        mask_header(header, identity);
    }
}

/// Replaces the server's own identifiers; any other value stays and shows.
pub fn mask_header(header: &mut ResponseHeader, identity: &Identity) {
    let mask = |value: &mut u64, own: u64| {
        if *value == own {
            *value = MASKED;
        }
    };
    mask(&mut header.cluster_id, identity.cluster);
    mask(&mut header.member_id, identity.member);
    mask(&mut header.raft_term, identity.term);
}

fn members(response: &mut MemberListResponse, identity: &Identity) {
    for member in &mut response.members {
        assert_eq!(member.id, identity.member, "the only member answers");
        member.id = MASKED;
        for url in member.peer_ur_ls.iter_mut().chain(&mut member.client_ur_ls) {
            let (host, _port) = url.rsplit_once(':').expect("a port");
            *url = host.to_string();
        }
    }
}

fn time_to_live(response: &mut LeaseTimeToLiveResponse) {
    response.keys.sort();
    let left = response.ttl;
    let granted = response.granted_ttl;
    if granted > 0 && (granted - LEASE_SLACK..=granted).contains(&left) {
        response.ttl = granted;
    }
}

fn transaction(request: &TxnRequest, response: &mut TxnResponse) {
    let branch = if response.succeeded {
        &request.success
    } else {
        &request.failure
    };
    for (request, response) in branch.iter().zip(&mut response.responses) {
        match (&request.request, &mut response.response) {
            (
                Some(request_op::Request::RequestRange(request)),
                Some(response_op::Response::ResponseRange(response)),
            ) => range(request, response),
            (
                Some(request_op::Request::RequestTxn(request)),
                Some(response_op::Response::ResponseTxn(response)),
            ) => transaction(request, response),
            _ => {}
        }
    }
}

/// Pairs that compare equal under the wanted order are put in the order of their keys. Where the limit cuts through such a
/// group, which of them are shown is not defined either, and their keys are hidden.
fn range(request: &RangeRequest, response: &mut RangeResponse) {
    let target = match SortTarget::try_from(request.sort_target) {
        Ok(SortTarget::Key) | Err(_) => return,
        Ok(target) => target,
    };
    let sorted = response.count.max(response.kvs.len() as i64) as usize;
    if sorted <= STABLE_SORT {
        return;
    }
    let by_value = target == SortTarget::Value;
    let same = |a: &KeyValue, b: &KeyValue| match target {
        // Values are left out after they have ordered the keys.
        SortTarget::Value if request.keys_only => true,
        SortTarget::Value => a.value == b.value,
        SortTarget::Version => a.version == b.version,
        SortTarget::Create => a.create_revision == b.create_revision,
        _ => a.mod_revision == b.mod_revision,
    };
    let cut = response.more;
    let groups = response.kvs.chunk_by_mut(same).count();
    for (index, group) in response.kvs.chunk_by_mut(same).enumerate() {
        group.sort_by(|a, b| a.key.cmp(&b.key));
        if cut && index + 1 == groups {
            group
                .iter_mut()
                .for_each(|pair| *pair = hidden(pair, by_value));
        }
    }
}

fn hidden(pair: &KeyValue, by_value: bool) -> KeyValue {
    KeyValue {
        value: if by_value {
            pair.value.clone()
        } else {
            Bytes::new()
        },
        ..KeyValue::default()
    }
}
