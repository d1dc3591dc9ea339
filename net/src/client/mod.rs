//! A client of etcd's API for what a member asks of a cluster before it serves itself: when it finds its companions
//! through another cluster, and when it is rebuilt. It blocks, and its connections end with it.

mod message;
mod tls;

pub(crate) use tls::ClientTls;

use crate::config::format_duration;
use bytes::Bytes;
use message::Raw;
use prost::Message;
use reeve_api::etcdserverpb::{AuthenticateRequest, AuthenticateResponse, auth_methods};
use std::cell::{Cell, RefCell};
use std::time::Duration;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Servers close connections on which pings come more often than they like; etcd's own client keeps to this, whatever it
/// is told.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(10);

/// What etcd answers to a login where there are no users.
const NO_LOGIN_NEEDED: &str = "authentication is not enabled";

/// How a cluster is reached.
#[derive(Clone, Debug)]
pub(crate) struct ClientOptions {
    /// `host:port`, or the same behind `http://` or `https://`. One that answers is enough.
    pub(crate) endpoints: Vec<String>,
    /// To connect to one of them.
    pub(crate) dial_timeout: Duration,
    /// For one request.
    pub(crate) request_timeout: Duration,
    /// Silence after which a connection is checked.
    pub(crate) keepalive_time: Duration,
    /// Time to answer such a check.
    pub(crate) keepalive_timeout: Duration,
    /// For endpoints that are reached by TLS.
    pub(crate) tls: ClientTls,
    /// Name and password.
    pub(crate) login: Option<(String, String)>,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The address of an endpoint cannot be used.
    #[error("{endpoint}: {why}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// The client cannot run.
    #[error("cannot start a client: {0}")]
    Runtime(#[from] std::io::Error),
    /// The server's answer, or what became of the connection.
    #[error("rpc error: code = {:?} desc = {}", .0.code(), .0.message())]
    Refused(Box<Status>),
}

impl ClientError {
    /// Whether the same request may be carried out a little later: nobody answers, or the cluster is not well.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            ClientError::Refused(status) => {
                matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
            }
            ClientError::Endpoint { .. } | ClientError::Runtime(_) => false,
        }
    }

    /// Whether the server says that the cluster is not well enough for a change, which it has not made then.
    pub(crate) fn is_unhealthy(&self) -> bool {
        matches!(self, ClientError::Refused(status) if status.message() == "etcdserver: unhealthy cluster")
    }

    /// Whether the server says that what the request is about does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Refused(status) if status.code() == Code::NotFound)
    }
}

/// A client. It connects when it is first needed, and again when a connection breaks.
pub(crate) struct Client {
    runtime: tokio::runtime::Runtime,
    /// One for each endpoint.
    channels: Vec<Channel>,
    /// The endpoint that answered last.
    current: Cell<usize>,
    options: ClientOptions,
    token: RefCell<Option<String>>,
}

impl Client {
    /// A client of this cluster.
    ///
    /// # Errors
    /// [`ClientError`]; that nobody answers is not among them.
    pub(crate) fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let endpoints: Result<Vec<Endpoint>, ClientError> = options
            .endpoints
            .iter()
            .map(|endpoint| read_endpoint(endpoint, &options))
            .collect();
        let endpoints = endpoints?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let channels = {
            let _inside = runtime.enter();
            endpoints.iter().map(Endpoint::connect_lazy).collect()
        };
        Ok(Client {
            runtime,
            channels,
            current: Cell::new(0),
            options,
            token: RefCell::new(None),
        })
    }

    /// Sends one request to a method, and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`]; whether the request had its effect is open, unless the server says so.
    pub(crate) fn call<Answer: Message + Default>(
        &self,
        path: &'static str,
        request: &impl Message,
    ) -> Result<Answer, ClientError> {
        let request = Bytes::from(request.encode_to_vec());
        let answered = self.runtime.block_on(self.call_with_login(path, request));
        let bytes = answered.map_err(|status| ClientError::Refused(Box::new(status)))?;
        Answer::decode(bytes).map_err(|error| {
            let text = format!("{path} answers what is no message: {error}");
            ClientError::Refused(Box::new(Status::internal(text)))
        })
    }

    async fn call_with_login(&self, path: &'static str, request: Bytes) -> Result<Bytes, Status> {
        self.log_in().await?;
        match self.send(path, request.clone()).await {
            // Tokens run out.
            Err(status) if status.code() == Code::Unauthenticated => {
                self.token.replace(None);
                self.log_in().await?;
                self.send(path, request).await
            }
            outcome => outcome,
        }
    }

    async fn log_in(&self) -> Result<(), Status> {
        let Some((name, password)) = &self.options.login else {
            return Ok(());
        };
        if self.token.borrow().is_some() {
            return Ok(());
        }
        let request = AuthenticateRequest {
            name: name.clone(),
            password: password.clone(),
        };
        let request = Bytes::from(request.encode_to_vec());
        let answer = match self.send(auth_methods::AUTHENTICATE, request).await {
            Ok(answer) => answer,
            Err(status) if status.message().contains(NO_LOGIN_NEEDED) => return Ok(()),
            Err(status) => return Err(status),
        };
        let answer = AuthenticateResponse::decode(answer)
            .map_err(|error| Status::internal(format!("no answer to a login: {error}")))?;
        self.token.replace(Some(answer.token));
        Ok(())
    }

    /// Sends a request to the endpoint that answered last, or else to the next one that can be reached. One that accepts and
    /// does not answer has used up the request's time; the next request goes to another.
    async fn send(&self, path: &'static str, request: Bytes) -> Result<Bytes, Status> {
        let mut outcome = Err(Status::unavailable("no endpoints"));
        for _ in 0..self.channels.len() {
            let current = self.current.get();
            let Some(channel) = self.channels.get(current) else {
                break;
            };
            outcome = self.send_by(channel, path, request.clone()).await;
            let code = outcome.as_ref().err().map(Status::code);
            if matches!(code, Some(Code::Unavailable | Code::DeadlineExceeded)) {
                self.current.set((current + 1) % self.channels.len());
            }
            if code != Some(Code::Unavailable) {
                return outcome;
            }
        }
        outcome
    }

    async fn send_by(
        &self,
        channel: &Channel,
        path: &'static str,
        request: Bytes,
    ) -> Result<Bytes, Status> {
        let mut request = Request::new(request);
        if let Some(token) = &*self.token.borrow() {
            let token = MetadataValue::try_from(token.as_str())
                .map_err(|_| Status::internal("the token cannot be sent"))?;
            request.metadata_mut().insert("token", token);
        }
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        let exchange = async {
            let ready = grpc.ready().await;
            ready.map_err(|error| Status::unavailable(format!("not connected: {error}")))?;
            let path = PathAndQuery::from_static(path);
            let answer = grpc.unary(request, path, Raw).await?;
            Ok(answer.into_inner())
        };
        match tokio::time::timeout(self.options.request_timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Status::deadline_exceeded(format!(
                "no answer within {}",
                format_duration(self.options.request_timeout)
            ))),
        }
    }
}

fn read_endpoint(text: &str, options: &ClientOptions) -> Result<Endpoint, ClientError> {
    let refused = |why: String| ClientError::Endpoint {
        endpoint: text.to_owned(),
        why,
    };
    let (secure, address) = match text.split_once("://") {
        Some(("http", address)) => (false, address),
        Some(("https", address)) => (true, address),
        Some((scheme, _)) => {
            return Err(refused(format!(
                "connections by {scheme} to another cluster are not supported"
            )));
        }
        None => (options.tls.is_default, text),
    };
    let scheme = if secure { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|error| refused(error.to_string()))?
        .connect_timeout(options.dial_timeout)
        .http2_keep_alive_interval(options.keepalive_time.max(LEAST_KEEPALIVE))
        .keep_alive_timeout(options.keepalive_timeout);
    match secure {
        true => options.tls.secure(endpoint).map_err(refused),
        false => Ok(endpoint),
    }
}

#[cfg(test)]
mod client_test;
