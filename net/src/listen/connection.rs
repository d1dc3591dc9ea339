//! The beginning of a connection: which protocol does it speak?

use super::{
    acceptor::Arrival,
    server::{Server, Swept},
    socket::Socket,
};
use crate::{
    grpc::ConnectionInfo,
    http,
    http2::{self, PREFACE},
};
use std::{
    cell::Cell,
    io,
    net::Shutdown,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

/// A connection without HTTP/2: while its protocol is unknown, and as long as it speaks HTTP/1.
pub(crate) struct PlainConnection {
    pub(crate) socket: Rc<Socket>,
    /// When it is cut off.
    deadline: Cell<Instant>,
    /// It waits for a request, so it can end at once when the server stops.
    pub(crate) idle: Cell<bool>,
    pub(crate) draining: Cell<bool>,
}

impl PlainConnection {
    /// Sets the time after which the connection is cut off.
    pub(crate) fn allow(&self, time: Duration) {
        let now = Instant::now();
        self.deadline.set(now.checked_add(time).unwrap_or(now));
    }
}

impl Swept for PlainConnection {
    fn tick(&self, now: Instant, sweep: bool) {
        if sweep && now >= self.deadline.get() {
            self.socket.shutdown(Shutdown::Both);
        }
    }

    fn drain(&self) {
        self.draining.set(true);
        if self.idle.get() {
            self.socket.shutdown(Shutdown::Both);
        }
    }

    fn close(&self) {
        self.socket.shutdown(Shutdown::Both);
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(server: Rc<Server>, arrival: Arrival) {
    let Arrival { stream, peer, slot } = arrival;
    let Ok(socket) = Socket::new(stream).map(Rc::new) else {
        return;
    };
    let info = Rc::new(ConnectionInfo {
        peer,
        reactor: server.reactor,
    });
    let plain = Rc::new(PlainConnection {
        socket: Rc::clone(&socket),
        deadline: Cell::new(Instant::now()),
        idle: Cell::new(true),
        draining: Cell::new(false),
    });
    plain.allow(server.limits.handshake_timeout);
    let weak = Rc::downgrade(&plain) as Weak<dyn Swept>;
    server.enrol(weak);
    match sniff(&socket).await {
        Ok((Protocol::Http2, first)) => {
            drop(plain);
            http2::serve(server, socket, info, first).await;
        }
        Ok((Protocol::Http1, first)) => http::serve(&server, &plain, first).await,
        // It has gone, or has been cut off.
        Ok((Protocol::Nothing, _)) | Err(_) => {}
    }
    drop(slot);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http2,
    Http1,
    Nothing,
}

/// Reads until the bytes are, or cannot become, the beginning of HTTP/2.
async fn sniff(socket: &Socket) -> io::Result<(Protocol, Vec<u8>)> {
    let mut first = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Ok((Protocol::Nothing, first));
        }
        first.extend_from_slice(&buffer[..count]);
        if first.starts_with(PREFACE) {
            return Ok((Protocol::Http2, first));
        }
        if !PREFACE.starts_with(&first) {
            return Ok((Protocol::Http1, first));
        }
    }
}
