//! Links between members: what is sent is lost, repeated, delayed and overtaken.

use super::options::{MICROSECOND, MILLISECOND, SECOND};
use super::world::{Event, World};
use super::{Checked, finding};
use bytes::Bytes;
use reeve_raft::{Body, MemberId, Message};

/// What is on its way.
#[derive(Clone)]
pub(crate) struct Sent {
    from: MemberId,
    to: MemberId,
    content: Content,
    /// It reaches only this life of its recipient.
    life: Option<u64>,
}

#[derive(Clone)]
enum Content {
    Message(Message),
    Parcel(Bytes),
}

impl World {
    pub(crate) fn deliver(&mut self, sent: Sent) -> Checked {
        let (id, from) = (sent.to, sent.from);
        let now = self.now;
        if let Content::Message(message) = &sent.content
            && matches!(message.body, Body::AppendResponse { .. })
        {
            self.maybe_fall_early(id);
        }
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        if sent.life.is_some_and(|life| life != member.life) {
            return Ok(());
        }
        let paused_until = member.paused_until;
        let Some(running) = &mut member.running else {
            return Ok(());
        };
        if paused_until > now {
            self.schedule(paused_until - now, Event::Deliver(Box::new(sent)));
            return Ok(());
        }
        let taken = match sent.content {
            Content::Message(message) => {
                self.summary.count("messages");
                running.node.step(from, message)
            }
            Content::Parcel(bytes) => {
                self.summary.count("parcels");
                running.node.take_parcel(from, &bytes)
            }
        };
        taken.map_err(|error| finding!("member {id} refuses what {from} sends: {error}"))?;
        self.settle(id)
    }

    /// A message is sent; its fate is drawn.
    pub(crate) fn transmit(&mut self, message: Message) {
        self.maybe_die_voting(&message);
        // Of what a leader was sent before a restart it remembers nothing: it relies on links that end with the process.
        let is_proposal = matches!(message.body, Body::Propose { .. });
        let recipient = self.members.get(&message.to);
        let life = recipient.filter(|_| is_proposal).map(|member| member.life);
        self.send(Sent {
            from: message.from,
            to: message.to,
            content: Content::Message(message),
            life,
        });
    }

    pub(crate) fn transmit_parcel(&mut self, from: MemberId, parcel: reeve_node::Parcel) {
        self.send(Sent {
            from,
            to: parcel.to,
            content: Content::Parcel(parcel.bytes),
            life: None,
        });
    }

    fn send(&mut self, sent: Sent) {
        let network = &self.options.network;
        let cut = self.cuts.contains(&(sent.from, sent.to));
        let (loss, repeat) = (network.loss_permille, network.repeat_permille);
        if cut || !self.calm && self.random.chance(loss) {
            self.summary.count("messages lost");
            return;
        }
        if !self.calm && self.random.chance(repeat) {
            self.summary.count("messages repeated");
            let delay = self.delay();
            self.schedule(delay, Event::Deliver(Box::new(sent.clone())));
        }
        let delay = self.delay();
        self.schedule(delay, Event::Deliver(Box::new(sent)));
    }

    /// Some members die as soon as they have voted, and whom they have voted for may not reach them any more.
    fn maybe_die_voting(&mut self, message: &Message) {
        let votes = matches!(message.body, Body::VoteResponse { granted: true });
        let often = self.options.faults.die_voting_permille;
        if !votes || self.calm || !self.random.chance(often) {
            return;
        }
        self.summary.count("deaths of voters");
        let (id, life) = (message.from, self.members[&message.from].life);
        let delay = self.random.between(0, self.options.network.delay);
        self.schedule(delay, Event::Die { id, life });
        if self.random.chance(500) {
            let length = self.random.between(100 * MILLISECOND, 2 * SECOND);
            self.cut_between(&[message.to], &[id], (true, false), length);
        }
    }

    fn delay(&mut self) -> u64 {
        if self.calm {
            return self.random.between(100 * MICROSECOND, MILLISECOND);
        }
        let (delay, late) = (
            self.options.network.delay,
            self.options.network.late_permille,
        );
        let usual = self.random.between(50 * MICROSECOND, delay);
        if self.random.chance(late) {
            usual * self.random.between(1, 100)
        } else {
            usual
        }
    }
}
