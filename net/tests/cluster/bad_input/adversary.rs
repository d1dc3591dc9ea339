//! A connection to a peer port that says what the test wants.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reeve_peer::{
    Encoder, FrameKind, FrameReader, HANDSHAKE_BYTES, Hello, Lane, Local, MAGIC, Output, Refusal,
    Welcome,
};
use reeve_raft::{MemberId, Message};

/// How long a member may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub struct Adversary {
    stream: TcpStream,
}

/// A greeting of somebody who claims to be a member of a cluster, and to mean another.
pub fn hello(cluster: u64, from: MemberId, to: MemberId) -> Hello {
    let local = Local {
        cluster,
        member: from,
        process: 0xbad,
        format: 1,
        release: "0.0.0".to_string(),
    };
    Hello::new(&local, to, Lane::Prompt)
}

impl Adversary {
    /// Connects and says nothing.
    pub fn connect(port: u16) -> Adversary {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the member listens");
        stream.set_nodelay(true).expect("a socket option");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a socket option");
        Adversary { stream }
    }

    /// Connects and greets; the answer.
    pub fn greet(port: u16, hello: &Hello) -> (Adversary, Result<Welcome, Refusal>) {
        let mut adversary = Adversary::connect(port);
        let mut output = Output::default();
        hello.push(&mut output);
        adversary.send(&output.to_vec());
        let answer = adversary.answer(hello);
        (adversary, answer)
    }

    /// Sends bytes; whether the member still takes them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a message as a member would.
    pub fn send_message(&mut self, message: &Message) -> bool {
        let mut output = Output::default();
        Encoder::default().push_message(message, &mut output);
        self.send(&output.to_vec())
    }

    /// Sends a frame.
    pub fn send_frame(&mut self, kind: FrameKind, content: &[u8]) -> bool {
        let mut output = Output::default();
        output.push_frame(kind, &Bytes::copy_from_slice(content));
        self.send(&output.to_vec())
    }

    fn answer(&mut self, hello: &Hello) -> Result<Welcome, Refusal> {
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        let mut magic = [0; MAGIC.len()];
        self.stream.read_exact(&mut magic).expect("an answer");
        assert_eq!(&magic, MAGIC);
        let mut reader = FrameReader::new(HANDSHAKE_BYTES);
        let mut byte = [0];
        loop {
            self.stream.read_exact(&mut byte).expect("the whole answer");
            let Some(frame) = reader.next(&mut &byte[..]).expect("a frame") else {
                continue;
            };
            return match frame.kind {
                FrameKind::Welcome => Ok(Welcome::read(&frame.content, hello).expect("a welcome")),
                FrameKind::Refusal => Err(Refusal::read(&frame.content).expect("a refusal")),
                kind => panic!("the member answers with {kind:?}"),
            };
        }
    }

    /// Whether the member closes the connection within this time. What it says is dropped.
    pub fn is_closed_within(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut buffer = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.stream
                .set_read_timeout(Some(left))
                .expect("a socket option");
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }
}
