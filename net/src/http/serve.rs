//! Serving one HTTP/1.1 connection.

use super::message::{Body, MAX_BODY_BYTES, ParseError, Request, Response};
use crate::listen::{PlainConnection, Server, Socket};
use std::{io, net::Shutdown, rc::Rc, time::SystemTime};

/// Serves requests in turn until the client or the server wants to end.
pub(crate) async fn serve(server: &Rc<Server>, connection: &Rc<PlainConnection>, first: Vec<u8>) {
    let mut buffer = first;
    // An error of the socket ends the connection like its end does.
    while let Ok(true) = serve_one(server, connection, &mut buffer).await {
        if connection.draining.get() {
            break;
        }
    }
    connection.socket.shutdown(Shutdown::Both);
}

/// Serves one request; true if another may follow.
async fn serve_one(
    server: &Server,
    connection: &PlainConnection,
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    connection.idle.set(true);
    connection.allow(server.limits.header_timeout);
    let parsed = read_header(&connection.socket, buffer).await?;
    connection.idle.set(false);
    let request = match parsed {
        Ok(Some(request)) => request,
        Ok(None) => return Ok(false),
        Err(status) => {
            let text = format!(
                "{status} {}",
                if status == 431 {
                    "header too large"
                } else {
                    "Bad Request"
                }
            );
            let refusal = Response::error(status, &text).encode(true, false, SystemTime::now());
            connection.socket.write_all(&refusal).await?;
            return Ok(false);
        }
    };
    let readable = matches!(request.body, Body::Length(length) if length <= MAX_BODY_BYTES);
    let keep = request.keep_alive && readable && !request.expects_continue;
    if keep && let Body::Length(length) = request.body {
        skip(&connection.socket, buffer, length as usize).await?;
    }
    let response = server.endpoints.answer(&request).await;
    let keep = keep && !connection.draining.get();
    let bytes = response.encode(!keep, request.method == "HEAD", SystemTime::now());
    connection.socket.write_all(&bytes).await?;
    Ok(keep)
}

/// Reads the header of a request out of `buffer` and the socket. None at the end of the connection; the error is an HTTP
/// status.
async fn read_header(
    socket: &Socket,
    buffer: &mut Vec<u8>,
) -> io::Result<Result<Option<Request>, u16>> {
    loop {
        if !buffer.is_empty() {
            match Request::parse(buffer) {
                Ok((request, length)) => {
                    buffer.drain(..length);
                    return Ok(Ok(Some(request)));
                }
                Err(ParseError::Incomplete) => {}
                // A client of another protocol gets no words that it cannot understand.
                Err(ParseError::NotHttp) => return Ok(Ok(None)),
                Err(ParseError::Malformed) => return Ok(Err(400)),
                Err(ParseError::TooLarge) => return Ok(Err(431)),
            }
        }
        if !read_more(socket, buffer).await? {
            return Ok(Ok(None));
        }
    }
}

/// Drops `length` bytes of a body.
async fn skip(socket: &Socket, buffer: &mut Vec<u8>, length: usize) -> io::Result<()> {
    while buffer.len() < length {
        if !read_more(socket, buffer).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    buffer.drain(..length);
    Ok(())
}

async fn read_more(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 4096];
    let count = socket.read(&mut piece).await?;
    buffer.extend_from_slice(&piece[..count]);
    Ok(count > 0)
}
