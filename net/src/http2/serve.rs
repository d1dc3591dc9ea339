//! Drives [`Calls`] on a socket: one task reads, answers of a turn leave in one write.

use super::{
    calls::{Calls, Ready},
    limits::{MAX_PARTIAL_BYTES, UNSENT_HIGH_WATER},
};
use crate::{
    grpc::{
        CallId, Carrier, Code, ConnectionInfo, Disconnected, Method, Responder, Status,
        start_streaming,
    },
    listen::{Server, Socket, Swept},
};
use bytes::Bytes;
use reeve_http2::{Output, grpc::PREFIX_BYTES};
use std::{
    cell::{Cell, RefCell, RefMut},
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    net::Shutdown,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// Pieces of output that one write takes.
const PIECES_PER_WRITE: usize = 64;

/// After the last byte is written, the client gets this long to close its side.
const LINGER: Duration = Duration::from_secs(2);

/// What a client sends after the end is read and dropped, up to this many bytes.
const LINGER_BYTES: usize = 1024 * 1024;

/// Connections that have something to write.
///
/// Whoever makes output puts the connection here; one task per reactor writes for all of them at the end of the turn.
#[derive(Default)]
pub(crate) struct FlushQueue {
    connections: RefCell<Vec<Rc<Connection>>>,
    waker: Cell<Option<Waker>>,
}

impl std::fmt::Debug for FlushQueue {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("FlushQueue").finish_non_exhaustive()
    }
}

impl FlushQueue {
    fn add(&self, connection: Rc<Connection>) {
        self.connections.borrow_mut().push(connection);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits until there is a connection with output.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            if !self.connections.borrow().is_empty() {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Writes for every connection in the queue.
    pub(crate) fn flush(&self) {
        let mut batch = std::mem::take(&mut *self.connections.borrow_mut());
        for connection in batch.drain(..) {
            connection.queued.set(false);
            connection.flush();
        }
        let mut queue = self.connections.borrow_mut();
        if queue.is_empty() {
            // Keeps the memory of the list.
            *queue = batch;
        }
    }
}

/// One HTTP/2 connection.
pub(crate) struct Connection {
    calls: RefCell<Calls>,
    socket: Rc<Socket>,
    server: Rc<Server>,
    /// It stands in the flush queue.
    queued: Cell<bool>,
    /// A read is being handled; it writes when it is done.
    receiving: Cell<bool>,
    /// A task waits for the socket to take more.
    writing: Cell<bool>,
    /// Calls that wait until the client takes answers.
    parked: RefCell<VecDeque<Ready>>,
    /// The reader, while it waits for the output to shrink.
    drained: Cell<Option<Waker>>,
    /// When a finished connection is cut off.
    linger_until: Cell<Option<Instant>>,
    this: Weak<Connection>,
}

/// Serves a connection whose first bytes have been read already.
pub(crate) async fn serve(
    server: Rc<Server>,
    socket: Rc<Socket>,
    info: Rc<ConnectionInfo>,
    first: Vec<u8>,
) {
    let now = Instant::now();
    let calls = Calls::new(Rc::clone(&server.limits), info, now);
    let connection = Rc::new_cyclic(|this| Connection {
        calls: RefCell::new(calls),
        socket,
        server: Rc::clone(&server),
        queued: Cell::new(false),
        receiving: Cell::new(false),
        writing: Cell::new(false),
        parked: RefCell::default(),
        drained: Cell::new(None),
        linger_until: Cell::new(None),
        this: Weak::clone(this),
    });
    let weak = Rc::downgrade(&connection) as Weak<dyn Swept>;
    server.enrol(weak);
    if server.draining.get() {
        connection.drain();
    }
    connection.receive(&first);
    drop(first);
    // An error of the socket ends the connection like its end does.
    let _ = connection.read().await;
    connection.calls.borrow_mut().close();
    connection.parked.borrow_mut().clear();
    connection.socket.shutdown(Shutdown::Both);
}

impl Connection {
    /// Reads until the end of the connection.
    async fn read(&self) -> io::Result<()> {
        loop {
            self.output_taken().await;
            if self.calls.borrow().is_over() {
                return self.linger().await;
            }
            let (count, full) = {
                let mut buffer = self.server.read_buffer.borrow_mut();
                match self.socket.try_read(&mut buffer) {
                    // The end of what the client says, or of a connection that was closed from here.
                    Ok(0) if self.calls.borrow().is_over() => (0, true),
                    Ok(0) => return Ok(()),
                    Ok(count) => {
                        self.receive(&buffer[..count]);
                        (count, count == buffer.len())
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, false),
                    Err(error) => return Err(error),
                }
            };
            if full {
                glommio::yield_if_needed().await;
            } else if count == 0 || !self.calls.borrow().is_over() {
                // A short read has emptied the socket, so asking again at once would be in vain.
                self.socket.readable().await?;
            }
        }
    }

    /// Handles the bytes of one read: all frames first, then the calls they have completed, then one write.
    fn receive(&self, bytes: &[u8]) {
        self.receiving.set(true);
        let mut ready = Vec::new();
        let router = &self.server.router;
        self.calls
            .borrow_mut()
            .receive(bytes, router, Instant::now(), &mut ready);
        if !self.parked.borrow().is_empty() || self.is_congested() {
            self.park(ready);
        } else {
            for call in ready {
                self.dispatch(call);
            }
        }
        self.receiving.set(false);
        self.flush();
    }

    /// Whether the client leaves so many answers untaken that its calls have to wait.
    fn is_congested(&self) -> bool {
        self.calls.borrow().unsent() >= UNSENT_HIGH_WATER
    }

    fn park(&self, ready: Vec<Ready>) {
        let mut parked = self.parked.borrow_mut();
        parked.extend(ready);
        let mut bytes: usize = parked.iter().map(Ready::message_bytes).sum();
        while bytes > MAX_PARTIAL_BYTES {
            let Some(last) = parked.pop_back() else {
                break;
            };
            bytes -= last.message_bytes();
            let text = "too many requests wait while the client takes no answers";
            let status = Status::new(Code::ResourceExhausted, text);
            self.calls.borrow_mut().finish(last.call(), Err(status));
        }
    }

    fn dispatch_parked(&self) {
        while !self.is_congested() {
            let Some(next) = self.parked.borrow_mut().pop_front() else {
                return;
            };
            self.dispatch(next);
        }
    }

    /// Runs the handler of a call, unless the client has reset it meanwhile.
    fn dispatch(&self, ready: Ready) {
        let Some(this) = self.this.upgrade() else {
            return;
        };
        if !self.calls.borrow_mut().is_open(ready.call()) {
            return;
        }
        match ready {
            Ready::Unary {
                call,
                method,
                context,
                message,
            } => {
                let (_, Method::Unary(handler)) = self.server.router.method(method) else {
                    unreachable!("its method was looked up")
                };
                handler(context, message, Responder::new(this, call));
            }
            Ready::Streaming {
                call,
                method,
                context,
            } => {
                start_streaming(self.server.router.method(method).1, context, this, call);
            }
        }
    }

    /// The state, for a change that may produce output: it is written at the end of the turn.
    fn change(&self) -> RefMut<'_, Calls> {
        if !self.queued.get()
            && !self.receiving.get()
            && !self.writing.get()
            && let Some(this) = self.this.upgrade()
        {
            self.queued.set(true);
            self.server.flushes.add(this);
        }
        self.calls.borrow_mut()
    }

    /// Writes what there is; if the socket does not take it all, a task goes on.
    fn flush(&self) {
        if self.writing.get() {
            return;
        }
        match self.write_some() {
            Ok(true) => {}
            Ok(false) => {
                if let Some(this) = self.this.upgrade() {
                    self.writing.set(true);
                    glommio::spawn_local(write_rest(this)).detach();
                }
            }
            Err(_) => self.abandon(),
        }
    }

    /// Writes until there is nothing left (true) or the socket is full (false).
    fn write_some(&self) -> io::Result<bool> {
        loop {
            let mut calls = self.calls.borrow_mut();
            if calls.output().is_empty() {
                calls.resume();
                if calls.output().is_empty() {
                    drop(calls);
                    return Ok(self.after_write());
                }
            }
            match write_once(&self.socket, calls.output()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Everything is written: parked calls may run. True if they have produced nothing to write.
    fn after_write(&self) -> bool {
        if let Some(waker) = self.drained.take() {
            waker.wake();
        }
        if !self.parked.borrow().is_empty() {
            self.dispatch_parked();
            if !self.calls.borrow_mut().output().is_empty() {
                drop(self.change());
            }
        }
        true
    }

    /// Waits until the output is small enough for more requests.
    async fn output_taken(&self) {
        poll_fn(|cx| {
            let mut calls = self.calls.borrow_mut();
            let taken = if calls.is_over() {
                calls.output().is_empty() || !self.writing.get()
            } else {
                calls.wants_input()
            };
            if taken {
                return Poll::Ready(());
            }
            self.drained.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// The last bytes are written. Closing at once would discard them if the client still sends, so it gets a moment to
    /// read them.
    async fn linger(&self) -> io::Result<()> {
        self.linger_until.set(Instant::now().checked_add(LINGER));
        self.socket.shutdown(Shutdown::Write);
        let mut buffer = vec![0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match self.socket.read(&mut buffer).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    }

    /// The socket is broken.
    fn abandon(&self) {
        let mut calls = self.calls.borrow_mut();
        calls.close();
        let unwritten = calls.output().len();
        calls.output().written(unwritten);
        drop(calls);
        self.socket.shutdown(Shutdown::Both);
        if let Some(waker) = self.drained.take() {
            waker.wake();
        }
    }
}

/// One write of as much as the socket takes.
fn write_once(socket: &Socket, output: &mut Output) -> io::Result<()> {
    let first = output.first_slice();
    let count = if first.len() == output.len() {
        socket.try_write(first)?
    } else {
        let mut pieces = [IoSlice::new(&[]); PIECES_PER_WRITE];
        let filled = output.slices(&mut pieces);
        socket.try_write_pieces(&pieces[..filled])?
    };
    output.written(count);
    Ok(())
}

/// Writes the rest of the output of a connection whose socket was full.
async fn write_rest(connection: Rc<Connection>) {
    loop {
        if connection.socket.writable().await.is_err() {
            connection.writing.set(false);
            return connection.abandon();
        }
        match connection.write_some() {
            Ok(true) => {
                connection.writing.set(false);
                let more = !connection.calls.borrow_mut().output().is_empty();
                if more {
                    drop(connection.change());
                }
                return;
            }
            Ok(false) => {
                if connection.calls.borrow().wants_input()
                    && let Some(waker) = connection.drained.take()
                {
                    waker.wake();
                }
            }
            Err(_) => {
                connection.writing.set(false);
                return connection.abandon();
            }
        }
    }
}

impl Swept for Connection {
    fn tick(&self, now: Instant, sweep: bool) {
        let mut calls = self.calls.borrow_mut();
        let was_over = calls.is_over();
        calls.tick(now, sweep);
        let ended = calls.is_over() && !was_over;
        let output = !calls.output().is_empty();
        drop(calls);
        if sweep && self.linger_until.get().is_some_and(|until| now >= until) {
            return self.close();
        }
        if output {
            drop(self.change());
        }
        if ended {
            self.end_reader_if_over();
        }
    }

    fn drain(&self) {
        self.change().drain(Instant::now());
        self.end_reader_if_over();
    }

    fn close(&self) {
        self.calls.borrow_mut().close();
        self.flush();
        self.socket.shutdown(Shutdown::Both);
    }
}

impl Connection {
    /// A connection that was closed outside of the reader has to wake it.
    fn end_reader_if_over(&self) {
        if self.calls.borrow().is_over() {
            self.flush();
            self.socket.shutdown(Shutdown::Read);
        }
    }
}

impl Carrier for Connection {
    fn finish(&self, call: CallId, outcome: Result<Option<Bytes>, Status>) {
        self.change().finish(call, outcome);
        self.end_reader_if_over();
    }

    fn send(
        &self,
        call: CallId,
        prefix: Option<[u8; PREFIX_BYTES]>,
        piece: Bytes,
    ) -> Result<(), Disconnected> {
        self.change().send(call, prefix, piece)
    }

    fn unsent(&self, call: CallId) -> usize {
        self.calls.borrow_mut().unsent_of(call)
    }

    fn poll_unsent_below(
        &self,
        call: CallId,
        threshold: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Disconnected>> {
        self.calls
            .borrow_mut()
            .poll_unsent_below(call, threshold, cx)
    }

    fn poll_message(
        &self,
        call: CallId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Status>> {
        let mut calls = self.calls.borrow_mut();
        let before = calls.output().len();
        let answer = calls.poll_message(call, cx);
        let output = calls.output().len() > before;
        drop(calls);
        if output {
            // The client's window was opened.
            drop(self.change());
        }
        answer
    }

    fn poll_closed(&self, call: CallId, cx: &mut Context<'_>) -> Poll<()> {
        self.calls.borrow_mut().poll_closed(call, cx)
    }

    fn is_closed(&self, call: CallId) -> bool {
        !self.calls.borrow_mut().is_open(call)
    }
}
