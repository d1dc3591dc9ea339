//! Serving the requests of one connection of the peer port.

use super::super::message::{Body, MAX_BODY_BYTES, ParseError, Request, Response};
use super::{PeerSource, answer};
use crate::peer::{HttpHandler, PeerStream};
use std::cell::OnceCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// How long a connection may last: members and tools ask one thing at a time.
const LIFE: Duration = Duration::from_secs(60);

/// Serves the connections of the peer port as soon as there is somebody who knows the answers; before that it closes them.
pub(crate) fn handler(source: Rc<OnceCell<Rc<dyn PeerSource>>>) -> HttpHandler {
    Rc::new(move |stream, first| {
        let source = Rc::clone(&source);
        Box::pin(async move {
            if let Some(source) = source.get() {
                let served = async {
                    // What a peer breaks off is its own affair.
                    let _ = serve(&stream, first, &**source).await;
                };
                futures_lite::future::or(served, async {
                    glommio::timer::sleep(LIFE).await;
                })
                .await;
            }
            stream.close();
        })
    })
}

/// Serves requests in turn until the other side ends, or asks for the end. `first` has been read from the stream already.
/// Whoever calls this bounds its time.
///
/// # Errors
/// Those of the stream.
pub(super) async fn serve(
    stream: &PeerStream,
    first: Vec<u8>,
    source: &dyn PeerSource,
) -> io::Result<()> {
    let mut buffer = first;
    loop {
        let request = match read_header(stream, &mut buffer).await? {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(response) => return write(stream, &response, true, false).await,
        };
        let length = match request.body {
            Body::Length(length) if length <= MAX_BODY_BYTES => length as usize,
            _ => {
                let refusal = Response::error(413, "request body too large");
                return write(stream, &refusal, true, false).await;
            }
        };
        while buffer.len() < length {
            if !read_more(stream, &mut buffer).await? {
                return Ok(());
            }
        }
        let rest = buffer.split_off(length);
        let body = std::mem::replace(&mut buffer, rest);
        let response = answer(source, &request, &body).await;
        write(
            stream,
            &response,
            !request.keep_alive,
            request.method == "HEAD",
        )
        .await?;
        if !request.keep_alive {
            return Ok(());
        }
    }
}

async fn write(
    stream: &PeerStream,
    response: &Response,
    close: bool,
    head: bool,
) -> io::Result<()> {
    let bytes = response.encode_for_peer(close, head, SystemTime::now());
    stream.write_all(&bytes).await
}

/// Reads the header of a request. `None` at the end of the connection; the error is the answer to what is no request.
async fn read_header(
    stream: &PeerStream,
    buffer: &mut Vec<u8>,
) -> io::Result<Result<Option<Request>, Response>> {
    loop {
        if !buffer.is_empty() {
            match Request::parse(buffer) {
                Ok((request, length)) => {
                    buffer.drain(..length);
                    return Ok(Ok(Some(request)));
                }
                Err(ParseError::Incomplete) => {}
                Err(ParseError::NotHttp) => return Ok(Ok(None)),
                Err(ParseError::Malformed) => {
                    return Ok(Err(Response::error(400, "400 Bad Request")));
                }
                Err(ParseError::TooLarge) => {
                    return Ok(Err(Response::error(431, "431 header too large")));
                }
            }
        }
        if !read_more(stream, buffer).await? {
            return Ok(Ok(None));
        }
    }
}

async fn read_more(stream: &PeerStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 4096];
    let count = stream.read(&mut piece).await?;
    buffer.extend_from_slice(&piece[..count]);
    Ok(count > 0)
}
