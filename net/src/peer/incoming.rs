//! Links that other members have dialled.

use super::dial::{PATIENCE, within};
use super::inbox::Arrived;
use super::links::Links;
use super::outgoing::SILENCE;
use super::stream::PeerStream;
use reeve_peer::{
    FrameKind, FrameReader, HANDSHAKE_BYTES, Hello, Lane, MAGIC, Output, Refusal, Standing,
    decode_message, judge,
};
use reeve_raft::MemberId;
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// Bytes of one link that are taken before others have their turn.
const BYTES_PER_TURN: usize = 1 << 20;

/// A second process with a member's id is refused as long as the first has spoken within this time: two pings.
const ALIVE: Duration = Duration::from_millis(2500);

/// One link that a member has dialled.
#[derive(Debug)]
pub(super) struct Inbound {
    process: u64,
    lane: Lane,
    stream: Rc<PeerStream>,
    heard: Cell<Instant>,
    ended: Cell<bool>,
}

impl Inbound {
    pub(super) fn close(&self) {
        self.ended.set(true);
        self.stream.close();
    }

    fn is_alive(&self) -> bool {
        !self.ended.get() && self.heard.get().elapsed() < ALIVE
    }

    /// Ends the link if nothing was heard for too long; whether it goes on.
    pub(super) fn check(&self) -> bool {
        if self.heard.get().elapsed() > 2 * SILENCE {
            self.close();
        }
        !self.ended.get()
    }
}

/// A link that was taken. It ends when this is dropped.
pub(super) struct Accepted {
    inbound: Rc<Inbound>,
    from: MemberId,
    reader: FrameReader,
    /// What was read beyond the greeting.
    rest: Vec<u8>,
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.inbound.close();
    }
}

/// Serves a link to its end.
pub(super) async fn serve(links: &Rc<Links>, mut link: Accepted) {
    links.hurry(link.from);
    if let Err(reason) = receive(links, &mut link).await {
        crate::warn!(
            "ended a link that a peer had dialled",
            "remote-peer-id" => format!("{:x}", link.from),
            "lane" => link.inbound.lane.to_string(),
            "error" => reason,
        );
    }
}

/// Tells a dialler that its certificate is good, but not from where it comes.
pub(super) async fn refuse(stream: &PeerStream, objection: &str) {
    let mut output = Output::default();
    output.push_bytes(MAGIC);
    Refusal::Other(objection.to_owned()).push(&mut output);
    let _ = within(PATIENCE, async {
        Ok(stream.write_all(&output.to_vec()).await?)
    })
    .await;
    // It shall arrive before the connection ends.
    glommio::timer::sleep(Duration::from_millis(50)).await;
}

/// Reads the greeting of a link whose first bytes, the magic, are in `first`, and answers it. Refusals are told to the peer
/// and to the operator.
pub(super) async fn accept(
    links: &Rc<Links>,
    stream: Rc<PeerStream>,
    first: Vec<u8>,
) -> Option<Accepted> {
    let accepted = greet(links, &stream, first).await;
    if accepted.is_none() {
        // What was said last shall arrive before the connection ends.
        glommio::timer::sleep(Duration::from_millis(50)).await;
        stream.close();
    }
    accepted
}

async fn greet(links: &Rc<Links>, stream: &Rc<PeerStream>, first: Vec<u8>) -> Option<Accepted> {
    let mut reader = FrameReader::new(HANDSHAKE_BYTES);
    let greeting = within(PATIENCE, async {
        Ok(read_hello(stream, first, &mut reader).await)
    });
    let judged = match greeting.await {
        Ok(Ok((hello, rest))) => links.judge(&hello).map(|answer| (hello, answer, rest)),
        Ok(Err(refusal)) => Err(refusal),
        // It has gone, or never spoke.
        Err(_) => return None,
    };
    let mut output = Output::default();
    output.push_bytes(MAGIC);
    let accepted = match judged {
        Ok((hello, answer, rest)) => {
            answer.push(&mut output);
            if !links.is_peer(hello.from.member) {
                links.add_remote(&hello);
            }
            reader.set_limit(links.options.frame_bytes);
            Some(Accepted {
                inbound: links.enrol(&hello, stream),
                from: hello.from.member,
                reader,
                rest,
            })
        }
        Err(refusal) => {
            if let Some(repeated) = links.rejections.tell(refusal.to_string()) {
                crate::warn!(
                    "rejected a link that a peer has dialled",
                    "local-member-id" => format!("{:x}", links.local.member),
                    "error" => refusal.to_string(),
                    "repeated" => repeated,
                );
            }
            refusal.push(&mut output);
            None
        }
    };
    let sent = within(PATIENCE, async {
        Ok(stream.write_all(&output.to_vec()).await?)
    });
    sent.await.ok().and(accepted)
}

/// The greeting, and what was read beyond it.
async fn read_hello(
    stream: &PeerStream,
    first: Vec<u8>,
    reader: &mut FrameReader,
) -> Result<(Hello, Vec<u8>), Refusal> {
    let unreadable = |error: &dyn std::fmt::Display| Refusal::Greeting(error.to_string());
    let mut buffer = [0; 512];
    let mut bytes = first.get(MAGIC.len()..).unwrap_or_default().to_vec();
    loop {
        let mut rest = bytes.as_slice();
        let frame = reader.next(&mut rest).map_err(|error| unreadable(&error))?;
        if let Some(frame) = frame {
            if frame.kind != FrameKind::Hello {
                return Err(unreadable(&"it begins with another frame"));
            }
            let hello = Hello::read(&frame.content).map_err(|error| unreadable(&error))?;
            return Ok((hello, rest.to_vec()));
        }
        let count = stream.read(&mut buffer).await;
        let count = count.map_err(|error| unreadable(&error))?;
        if count == 0 {
            return Err(unreadable(&"the connection ended within it"));
        }
        bytes = buffer.get(..count).unwrap_or_default().to_vec();
    }
}

impl Links {
    /// Whether a link is taken.
    fn judge(&self, hello: &Hello) -> Result<reeve_peer::Welcome, Refusal> {
        let member = hello.from.member;
        let standing = if self.is_removed(member) {
            Standing::Removed
        } else if self.is_doubled(member, hello.from.process) {
            Standing::Doubled
        } else if self.is_peer(member) {
            Standing::Member
        } else if self.takes_remote(hello) {
            Standing::Remote
        } else {
            Standing::Unknown
        };
        judge(hello, &self.local, standing)
    }

    fn is_doubled(&self, member: MemberId, process: u64) -> bool {
        let inbound = self.inbound.borrow();
        let others = inbound.get(&member).into_iter().flatten();
        others
            .filter(|other| other.process != process)
            .any(|other| other.is_alive())
    }

    /// Takes a link in, in place of an earlier one of its kind.
    fn enrol(&self, hello: &Hello, stream: &Rc<PeerStream>) -> Rc<Inbound> {
        let inbound = Rc::new(Inbound {
            process: hello.from.process,
            lane: hello.lane,
            stream: Rc::clone(stream),
            heard: Cell::new(Instant::now()),
            ended: Cell::new(false),
        });
        let mut all = self.inbound.borrow_mut();
        let links = all.entry(hello.from.member).or_default();
        links.retain(|old| {
            let stays = old.process == inbound.process && old.lane != inbound.lane;
            if !stays {
                old.close();
            }
            stays
        });
        links.push(Rc::clone(&inbound));
        inbound
    }
}

/// Receives until the link ends; the error says what was wrong with it.
async fn receive(links: &Rc<Links>, link: &mut Accepted) -> Result<(), String> {
    let rest = std::mem::take(&mut link.rest);
    take(links, link, &rest)?;
    links.inbox.announce();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        links.inbox.room(link.inbound.lane).await;
        let mut taken = 0;
        while taken < BYTES_PER_TURN {
            match link.inbound.stream.try_read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    take(links, link, buffer.get(..count).unwrap_or_default())?;
                    taken += count;
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Ok(()),
            }
        }
        links.inbox.announce();
        if taken >= BYTES_PER_TURN {
            glommio::executor().yield_task_queue_now().await;
        } else if link.inbound.stream.readable().await.is_err() {
            return Ok(());
        }
    }
}

/// Takes the frames in `bytes`.
fn take(links: &Links, link: &mut Accepted, mut bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    let Accepted {
        inbound,
        from,
        reader,
        ..
    } = link;
    let from = *from;
    inbound.heard.set(Instant::now());
    while let Some(frame) = reader.next(&mut bytes).map_err(|error| error.to_string())? {
        let arrived = match frame.kind {
            FrameKind::Message => {
                let message = decode_message(&frame.content).map_err(|error| error.to_string())?;
                Arrived::Message { from, message }
            }
            FrameKind::Parcel => Arrived::Parcel {
                from,
                bytes: frame.content,
            },
            FrameKind::Ping => {
                let mut output = Output::default();
                output.push_frame(FrameKind::Pong, &frame.content);
                // A socket without room for so little is not read by its peer: the next ping is answered then.
                let _ = inbound
                    .stream
                    .try_write_pieces(&[IoSlice::new(&output.to_vec())]);
                continue;
            }
            kind => return Err(format!("a frame of kind {kind:?} after the greeting")),
        };
        links.inbox.put(inbound.lane, arrived);
    }
    Ok(())
}
