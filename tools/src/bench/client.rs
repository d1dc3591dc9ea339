//! A blocking client for everything outside the measured path: checks before a run, loading of
//! settings, maintenance calls.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::error::{BenchError, BenchResult};
use super::http2::{Connection, Event, Status};
use super::messages::answers::{self, ServerStatus};
use super::messages::requests;
use super::method::Method;
use super::target::{Endpoint, Target};

/// A connection that makes one call at a time.
pub struct Client {
    socket: TcpStream,
    tls: Option<Box<rustls::ClientConnection>>,
    connection: Connection,
    target: Target,
    endpoint: Endpoint,
    /// Number of the token that calls carry.
    token_number: u64,
    input: Vec<u8>,
}

impl Client {
    /// Connects to `endpoint`; calls may take `timeout`.
    ///
    /// # Errors
    /// [`BenchError::Unreachable`] when no connection comes up.
    pub fn connect(target: &Target, endpoint: &Endpoint, timeout: Duration) -> BenchResult<Self> {
        let unreachable = |error: io::Error| {
            BenchError::Unreachable(format!("cannot connect to {}: {error}", endpoint.authority))
        };
        let socket = TcpStream::connect_timeout(&endpoint.address, target.dial_timeout)
            .map_err(unreachable)?;
        socket.set_nodelay(true).map_err(unreachable)?;
        socket
            .set_read_timeout(Some(timeout))
            .map_err(unreachable)?;
        socket
            .set_write_timeout(Some(timeout))
            .map_err(unreachable)?;
        let tls = target.tls_session(endpoint)?;
        let token = target.login.as_ref().map(|login| login.token());
        let token_number = token.as_ref().map_or(0, |token| token.number);
        let text = token.map(|token| token.text);
        let connection = Connection::new(endpoint.secure, endpoint.authority.clone(), text);
        Ok(Self {
            socket,
            tls,
            connection,
            target: target.clone(),
            endpoint: endpoint.clone(),
            token_number,
            input: Vec::new(),
        })
    }

    /// Makes a unary call and gives the answer's bytes.
    ///
    /// # Errors
    /// [`BenchError::Refused`] with the server's status; [`BenchError::Unreachable`] when the
    /// connection fails or what answers does not speak gRPC.
    pub fn call(
        &mut self,
        method: Method,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> BenchResult<Vec<u8>> {
        let mut answer = Vec::new();
        self.call_stream(method, encode, |message| answer = message.to_vec())?;
        Ok(answer)
    }

    /// Makes a call whose answer is a stream; each message goes to `each`. When the server refuses the
    /// token, it is made again after a new login.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_stream(
        &mut self,
        method: Method,
        encode: impl FnOnce(&mut Vec<u8>),
        mut each: impl FnMut(&[u8]),
    ) -> BenchResult<()> {
        let mut request = Vec::new();
        encode(&mut request);
        let write = |out: &mut Vec<u8>| out.extend_from_slice(&request);
        self.connection.call(method, 0, true, write);
        let mut status = self.drive(&mut each)?;
        if let Some(login) = self.target.login.clone().filter(|_| status.refuses_token()) {
            let token = login.renew(&self.target, self.token_number)?;
            self.token_number = token.number;
            self.connection.set_token(Some(token.text));
            self.connection.call(method, 0, true, write);
            status = self.drive(each)?;
        }
        if !status.is_ok() {
            return Err(BenchError::Refused {
                what: method.path().to_owned(),
                status,
            });
        }
        Ok(())
    }

    /// Watches: `message` takes each answer and gives the newest revision seen; between answers, at
    /// least once per read timeout, `go_on` is asked with it whether to go on.
    ///
    /// # Errors
    /// [`BenchError::Unreachable`] when the connection fails or the server ends the stream.
    pub fn watch(
        &mut self,
        create: impl FnOnce(&mut Vec<u8>),
        mut message: impl FnMut(&[u8]) -> i64,
        mut go_on: impl FnMut(i64) -> bool,
    ) -> BenchResult<()> {
        self.connection.call(Method::Watch, 0, false, create);
        let authority = self.endpoint.authority.clone();
        let unreachable =
            |error: String| BenchError::Unreachable(format!("endpoint {authority}: {error}"));
        let mut newest = 0;
        while go_on(newest) {
            self.flush()
                .map_err(|error| unreachable(error.to_string()))?;
            match self.read() {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    continue;
                }
                other => other.map_err(|error| unreachable(describe(&error)))?,
            }
            let mut offset = 0;
            loop {
                let event = self.connection.next_event(&self.input, &mut offset);
                match event.map_err(|error| unreachable(error.to_string()))? {
                    Some(Event::Message { payload, .. }) => {
                        if answers::watch_head(&payload).canceled {
                            return Err(unreachable("the server cancelled the watch".into()));
                        }
                        newest = message(&payload);
                    }
                    Some(Event::Ended { status, .. }) => {
                        return Err(unreachable(status.to_string()));
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            self.input.drain(..offset);
        }
        Ok(())
    }

    fn drive(&mut self, mut each: impl FnMut(&[u8])) -> BenchResult<Status> {
        let authority = self.endpoint.authority.clone();
        let unreachable =
            |error: String| BenchError::Unreachable(format!("endpoint {authority}: {error}"));
        let mut offset = 0;
        loop {
            self.flush()
                .map_err(|error| unreachable(error.to_string()))?;
            loop {
                let event = self.connection.next_event(&self.input, &mut offset);
                match event.map_err(|error| unreachable(error.to_string()))? {
                    Some(Event::Message { payload, .. }) => each(&payload),
                    Some(Event::Ended { status, .. }) => {
                        self.input.drain(..offset);
                        self.flush()
                            .map_err(|error| unreachable(error.to_string()))?;
                        return Ok(status);
                    }
                    Some(Event::GoingAway { reason, .. }) => {
                        return Err(unreachable(format!("the server is going away {reason}")));
                    }
                    Some(Event::Ready) => {}
                    None => break,
                }
            }
            self.input.drain(..offset);
            offset = 0;
            self.flush()
                .map_err(|error| unreachable(error.to_string()))?;
            self.read().map_err(|error| unreachable(describe(&error)))?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let out = self.connection.output();
        match &mut self.tls {
            None => self.socket.write_all(out)?,
            Some(tls) => {
                tls.writer().write_all(out)?;
                while tls.wants_write() {
                    tls.write_tls(&mut self.socket)?;
                }
            }
        }
        out.clear();
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        let count = match &mut self.tls {
            None => self.socket.read(&mut chunk)?,
            Some(tls) => {
                if tls.read_tls(&mut self.socket)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                tls.process_new_packets().map_err(io::Error::other)?;
                match tls.reader().read_to_end(&mut self.input) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => drop(other?),
                }
                return Ok(());
            }
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.input.extend_from_slice(&chunk[..count]);
        Ok(())
    }

    /// Logs in and gives the token.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn authenticate(&mut self, name: &str, password: &str) -> BenchResult<String> {
        let answer = self.call(Method::Authenticate, |out| {
            requests::authenticate(out, name, password);
        })?;
        Ok(String::from_utf8_lossy(answers::bytes_of(&answer, 2)).into_owned())
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn status(&mut self) -> BenchResult<ServerStatus> {
        let answer = self.call(Method::Status, |_| {})?;
        Ok(ServerStatus::read(&answer))
    }

    /// Number of keys in [key, end), and the current revision.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn count(&mut self, key: &[u8], end: &[u8]) -> BenchResult<(i64, i64)> {
        let request = requests::Range {
            key,
            end,
            count_only: true,
            ..Default::default()
        };
        let answer = self.call(Method::Range, |out| request.write(out))?;
        Ok((answers::range_count(&answer), answers::revision(&answer)))
    }
}

/// A system error in words a user can act on.
#[must_use]
pub fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed the connection".into(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".into(),
        _ => error.to_string(),
    }
}
