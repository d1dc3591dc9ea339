//! A place that drops what comes, for tests: like an address behind which nobody is any more.

use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The kernel drops what comes as long as this lives.
pub(crate) struct Deaf {
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl Deaf {
    /// At this address, until connections to it do not come about any more.
    pub(crate) fn at(address: SocketAddr) -> Deaf {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            waiting.push(stream);
            assert!(waiting.len() < 20, "its queue has no end");
        }
        Deaf {
            _listener: listener,
            _waiting: waiting,
        }
    }
}
