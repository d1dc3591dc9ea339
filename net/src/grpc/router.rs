//! Which handler serves which method.

use super::{
    call::{RequestStream, Responder, ResponseSink},
    context::RequestContext,
    decode::decode,
    dispatch,
    status::Status,
};
use bytes::Bytes;
use std::{collections::HashMap, future::Future, pin::Pin, rc::Rc};

type UnaryHandler = Box<dyn Fn(RequestContext, Bytes, Responder)>;
type StreamingFuture = Pin<Box<dyn Future<Output = Result<(), Status>>>>;
type StreamingHandler = Box<dyn Fn(RequestContext, RequestStream, ResponseSink) -> StreamingFuture>;

/// How the calls of a method are served.
pub(crate) enum Method {
    /// One request, one response.
    Unary(UnaryHandler),
    /// Either side may be a stream.
    Streaming(StreamingHandler),
}

/// Place of a method in its router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MethodIndex(u32);

impl MethodIndex {
    /// The method whose [`number`](Self::number) it is.
    pub(crate) fn from_number(number: u32) -> Self {
        MethodIndex(number)
    }

    /// Its number, from 0.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// Looks at the path of a call before it is served.
type Guard = Box<dyn Fn(&str) -> Result<(), Status>>;

/// The methods that a reactor serves. Built once per reactor, then shared by its connections.
#[derive(Default)]
pub struct Router {
    methods: Vec<(&'static str, Method)>,
    by_path: HashMap<&'static [u8], MethodIndex>,
    unknown: Option<Status>,
    guard: Option<Guard>,
}

impl Router {
    /// A router that knows no method.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves the unary method `path` with an async function.
    ///
    /// The future is polled once where the request is read; only if it has to wait does it become a task. It is dropped
    /// at its next wake-up if the client resets the call or its deadline passes.
    pub fn unary<H, F>(&mut self, path: &'static str, handler: H)
    where
        H: Fn(RequestContext, Bytes) -> F + 'static,
        F: Future<Output = Result<Bytes, Status>> + 'static,
    {
        self.unary_deferred(path, move |context, message, responder| {
            dispatch::run_unary(Box::pin(handler(context, message)), responder);
        });
    }

    /// Serves the unary method `path` with an async function over decoded messages.
    pub fn unary_message<Q, A, H, F>(&mut self, path: &'static str, handler: H)
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + 'static,
        H: Fn(RequestContext, Q) -> F + 'static,
        F: Future<Output = Result<A, Status>> + 'static,
    {
        let handler = Rc::new(handler);
        self.unary(path, move |context, message| {
            let handler = Rc::clone(&handler);
            async move {
                let request: Q = decode(message)?;
                let answer = handler(context, request).await?;
                Ok(Bytes::from(answer.encode_to_vec()))
            }
        });
    }

    /// Serves the unary method `path` with a plain function that keeps the [`Responder`] and may answer at once or at
    /// any later time. The cheapest way: no future and no task.
    pub fn unary_deferred<H>(&mut self, path: &'static str, handler: H)
    where
        H: Fn(RequestContext, Bytes, Responder) + 'static,
    {
        self.add(path, Method::Unary(Box::new(handler)));
    }

    /// Serves the streaming method `path` (either side, or both) with an async function. It becomes a task; what it
    /// returns ends the call. It is dropped if the client resets the call.
    pub fn streaming<H, F>(&mut self, path: &'static str, handler: H)
    where
        H: Fn(RequestContext, RequestStream, ResponseSink) -> F + 'static,
        F: Future<Output = Result<(), Status>> + 'static,
    {
        let boxed = move |context, requests, responses| -> StreamingFuture {
            Box::pin(handler(context, requests, responses))
        };
        self.add(path, Method::Streaming(Box::new(boxed)));
    }

    /// Answers every method that is not registered with `status`, instead of saying that it does not exist.
    pub fn refuse_unknown(&mut self, status: Status) {
        self.unknown = Some(status);
    }

    /// Asks `guard` about each call to a method that is registered; an error is the client's answer.
    pub fn guard(&mut self, guard: impl Fn(&str) -> Result<(), Status> + 'static) {
        self.guard = Some(Box::new(guard));
    }

    fn add(&mut self, path: &'static str, method: Method) {
        let index = MethodIndex(self.methods.len() as u32);
        self.methods.push((path, method));
        let previous = self.by_path.insert(path.as_bytes(), index);
        assert!(previous.is_none(), "{path} is registered twice");
    }

    /// Looks up a request path; the error is what the client gets, in grpc-go's words.
    pub(crate) fn find(&self, path: &[u8]) -> Result<MethodIndex, Status> {
        let found = self.by_path.get(path).copied();
        let index = found.ok_or_else(|| self.unknown(path))?;
        if let Some(guard) = &self.guard {
            guard(self.method(index).0)?;
        }
        Ok(index)
    }

    /// The path and handler of a method.
    pub(crate) fn method(&self, index: MethodIndex) -> (&'static str, &Method) {
        let (path, method) = &self.methods[index.0 as usize];
        (path, method)
    }

    fn unknown(&self, path: &[u8]) -> Status {
        if let Some(status) = &self.unknown {
            return status.clone();
        }
        let path = String::from_utf8_lossy(path);
        let Some((service, method)) = path
            .strip_prefix('/')
            .and_then(|name| name.rsplit_once('/'))
        else {
            return Status::unimplemented(format!("malformed method name: {path:?}"));
        };
        let prefix = format!("/{service}/");
        if self
            .methods
            .iter()
            .any(|(known, _)| known.starts_with(&prefix))
        {
            Status::unimplemented(format!("unknown method {method} for service {service}"))
        } else {
            Status::unimplemented(format!("unknown service {service}"))
        }
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_list()
            .entries(self.methods.iter().map(|(path, _)| path))
            .finish()
    }
}
