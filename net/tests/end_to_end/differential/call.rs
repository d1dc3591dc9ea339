//! The requests that both servers get, and their answers.

use bytes::Bytes;
use prost::Message;
use reeve_api::etcdserverpb::*;
use tonic::Status;

use crate::support::grpc::{Client, decode};

/// A request.
#[derive(Clone, Debug)]
pub enum Call {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    Grant(LeaseGrantRequest),
    Revoke(LeaseRevokeRequest),
    KeepAlive(LeaseKeepAliveRequest),
    TimeToLive(LeaseTimeToLiveRequest),
    Leases,
    HashKv(HashKvRequest),
    Members(MemberListRequest),
}

/// What comes back.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Range(RangeResponse),
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact(CompactionResponse),
    Grant(LeaseGrantResponse),
    Revoke(LeaseRevokeResponse),
    KeepAlive(LeaseKeepAliveResponse),
    TimeToLive(LeaseTimeToLiveResponse),
    Leases(LeaseLeasesResponse),
    HashKv(HashKvResponse),
    Members(MemberListResponse),
}

/// A reply, or the code and text of an error.
pub type Answer = Result<Reply, (i32, String)>;

impl Call {
    /// Sends the request and waits for the answer.
    pub async fn send(&self, client: &mut Client) -> Answer {
        self.ask(client)
            .await
            .map_err(|status| (status.code() as i32, status.message().to_string()))
    }

    async fn ask(&self, client: &mut Client) -> Result<Reply, Status> {
        Ok(match self {
            Call::Range(request) => Reply::Range(client.call(kv_methods::RANGE, request).await?),
            Call::Put(request) => Reply::Put(client.call(kv_methods::PUT, request).await?),
            Call::DeleteRange(request) => {
                Reply::DeleteRange(client.call(kv_methods::DELETE_RANGE, request).await?)
            }
            Call::Txn(request) => Reply::Txn(client.call(kv_methods::TXN, request).await?),
            Call::Compact(request) => {
                Reply::Compact(client.call(kv_methods::COMPACT, request).await?)
            }
            Call::Grant(request) => {
                Reply::Grant(client.call(lease_methods::LEASE_GRANT, request).await?)
            }
            Call::Revoke(request) => {
                Reply::Revoke(client.call(lease_methods::LEASE_REVOKE, request).await?)
            }
            Call::KeepAlive(request) => Reply::KeepAlive(keep_alive(client, request).await?),
            Call::TimeToLive(request) => Reply::TimeToLive(
                client
                    .call(lease_methods::LEASE_TIME_TO_LIVE, request)
                    .await?,
            ),
            Call::Leases => Reply::Leases(
                client
                    .call(lease_methods::LEASE_LEASES, &LeaseLeasesRequest {})
                    .await?,
            ),
            Call::HashKv(request) => {
                Reply::HashKv(client.call(maintenance_methods::HASH_KV, request).await?)
            }
            Call::Members(request) => {
                Reply::Members(client.call(cluster_methods::MEMBER_LIST, request).await?)
            }
        })
    }
}

/// One request and one answer on a stream of its own.
async fn keep_alive(
    client: &mut Client,
    request: &LeaseKeepAliveRequest,
) -> Result<LeaseKeepAliveResponse, Status> {
    let path = lease_methods::LEASE_KEEP_ALIVE;
    let request = tokio_stream::once(Bytes::from(request.encode_to_vec()));
    let mut answers = client.stream_raw(path, request).await?;
    let answer = answers.message().await?;
    Ok(decode(path, answer.expect("an answer before the end")))
}

/// What tells a server and a term of it from others.
#[derive(Clone, Debug)]
pub struct Identity {
    pub cluster: u64,
    pub member: u64,
    pub term: u64,
}

impl Identity {
    /// Asks the server.
    pub async fn of(client: &mut Client) -> Identity {
        let request = RangeRequest {
            key: Bytes::from_static(b"k"),
            ..RangeRequest::default()
        };
        let answer: RangeResponse = client
            .call(kv_methods::RANGE, &request)
            .await
            .expect("a range is answered");
        let header = answer.header.expect("a header");
        assert!(
            header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0,
            "{header:?}"
        );
        Identity {
            cluster: header.cluster_id,
            member: header.member_id,
            term: header.raft_term,
        }
    }
}
