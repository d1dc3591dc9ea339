//! A gRPC client that sends and receives bytes as they are, so that nothing a server says is lost to a library.

// That of the server's own client.
#[path = "../../../src/client/message.rs"]
mod message;

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use reeve_api::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse, kv_methods};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use message::Raw;

/// One connection to a server.
#[derive(Clone)]
pub struct Client {
    grpc: tonic::client::Grpc<Channel>,
    wants_leader: bool,
}

impl Client {
    /// Connects to `127.0.0.1:port`.
    pub async fn connect(endpoint: &str) -> Client {
        let connected = Client::try_connect(endpoint, Duration::from_secs(60)).await;
        connected.expect("the server accepts connections")
    }

    /// Connects to `127.0.0.1:port`, if the server accepts that within `patience`.
    pub async fn try_connect(
        endpoint: &str,
        patience: Duration,
    ) -> Result<Client, tonic::transport::Error> {
        let channel = Endpoint::from_shared(format!("http://{endpoint}"))?
            .connect_timeout(patience)
            .connect()
            .await?;
        Ok(Client {
            grpc: tonic::client::Grpc::new(channel).max_decoding_message_size(i32::MAX as usize),
            wants_leader: false,
        })
    }

    /// The same connection; its calls ask to be told if there is no leader.
    pub fn wanting_leader(mut self) -> Client {
        self.wants_leader = true;
        self
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if self.wants_leader {
            let value = tonic::metadata::MetadataValue::from_static("true");
            request.metadata_mut().insert("hasleader", value);
        }
        request
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc
            .ready()
            .await
            .map_err(|error| Status::unavailable(format!("not connected: {error}")))
    }

    /// A unary call with bytes.
    pub async fn call_raw(&mut self, path: &str, request: Bytes) -> Result<Bytes, Status> {
        self.ready().await?;
        let path = PathAndQuery::try_from(path).expect("a path");
        let request = self.request(request);
        let response = self.grpc.unary(request, path, Raw).await?;
        Ok(response.into_inner())
    }

    /// A unary call with messages. An answer with a field that the messages do not know is a failure.
    pub async fn call<Answer: Message + Default>(
        &mut self,
        path: &str,
        request: &impl Message,
    ) -> Result<Answer, Status> {
        let request = Bytes::from(request.encode_to_vec());
        let bytes = self.call_raw(path, request).await?;
        Ok(decode(path, bytes))
    }

    /// Writes one pair; the revision of the write.
    pub async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<i64, Status> {
        let request = PutRequest {
            key: Bytes::copy_from_slice(key),
            value: Bytes::copy_from_slice(value),
            ..PutRequest::default()
        };
        let answer: PutResponse = self.call(kv_methods::PUT, &request).await?;
        Ok(answer.header.map_or(0, |header| header.revision))
    }

    /// Reads one key.
    pub async fn get(&mut self, key: &[u8]) -> Result<RangeResponse, Status> {
        let request = RangeRequest {
            key: Bytes::copy_from_slice(key),
            ..RangeRequest::default()
        };
        self.call(kv_methods::RANGE, &request).await
    }

    /// A call with streams in both directions.
    pub async fn stream_raw(
        &mut self,
        path: &str,
        requests: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        self.ready().await?;
        let path = PathAndQuery::try_from(path).expect("a path");
        let requests = self.request(requests);
        let response = self.grpc.streaming(requests, path, Raw).await?;
        Ok(response.into_inner())
    }
}

/// Decodes an answer and checks that no field of it was unknown: a message that is encoded again has the same length.
pub fn decode<Answer: Message + Default>(path: &str, bytes: Bytes) -> Answer {
    let answer = Answer::decode(bytes.clone())
        .unwrap_or_else(|error| panic!("{path} answers what is no message: {error}: {bytes:?}"));
    assert_eq!(
        answer.encoded_len(),
        bytes.len(),
        "{path} answers fields that reeve-api does not know: {bytes:?}"
    );
    answer
}
