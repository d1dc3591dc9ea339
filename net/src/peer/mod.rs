//! Links to the other members, on the sequencer's reactor.
//!
//! This member dials every other one, once for each lane, and sends on what it has dialled; what others have dialled it
//! receives on. What `reeve-peer` makes of bytes is driven here over sockets: bounded queues, one write for each lane and
//! turn, pauses between attempts, signs of life. A peer that is slow or gone loses messages, which Raft makes up for; it
//! never costs memory or delays another.
//!
//! Where the peer URL says so, all of this goes through TLS (`crate::tls`).

mod activity;
mod backoff;
mod crowd;
mod dial;
mod inbox;
mod incoming;
mod links;
mod outgoing;
mod port;
mod rejections;
mod signal;
mod stream;

pub(crate) use activity::Activity;
pub(crate) use inbox::Arrived;
pub(crate) use links::{LinkOptions, Links, PeerAddress};
pub(crate) use port::{HttpHandler, PeerPort};
pub(crate) use stream::PeerStream;

#[cfg(test)]
mod dial_test;
#[cfg(test)]
mod peer_test;
#[cfg(test)]
mod port_test;
