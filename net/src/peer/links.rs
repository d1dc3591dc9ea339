//! All links of this member: who the peers are, what goes to them, and what has come.

use super::activity::Activity;
use super::inbox::{Arrived, Inbox};
use super::incoming::Inbound;
use super::outgoing::Outgoing;
use super::rejections::Rejections;
use crate::config::Url;
use crate::reactor::{Names, Sake};
use crate::tls::Credentials;
use reeve_node::Parcel;
use reeve_peer::{Encoder, Hello, Lane, Local, Welcome, refused_proposal};
use reeve_raft::{MemberId, Message};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

/// Members that are linked to without being known, at a time.
const REMOTES: usize = 8;

/// How long such a member stays after its last link.
const REMOTE_LIFE: Duration = Duration::from_secs(30);

/// How often peers are asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// Where a peer is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerAddress {
    /// The member.
    pub(crate) member: MemberId,
    /// Its peer URLs, tried in turn.
    pub(crate) urls: Vec<Url>,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> = self.urls.iter().map(Url::to_string).collect();
        to.write_str(&urls.join(","))
    }
}

/// What all links have in common.
#[derive(Clone, Debug)]
pub(crate) struct LinkOptions {
    /// Bytes of the largest frame that is taken: the largest request, and what may be grouped with it.
    pub(crate) frame_bytes: usize,
    /// Seed of the variation of pauses.
    pub(crate) seed: u64,
    /// For peers that are dialled over TLS.
    pub(crate) credentials: Arc<Credentials>,
    /// Where the hosts of peers are looked up.
    pub(crate) names: Names,
}

struct Peer {
    lanes: [Rc<Outgoing>; 2],
    /// Dropping them ends the lanes.
    _tasks: Vec<glommio::Task<()>>,
}

impl Peer {
    fn lane(&self, lane: Lane) -> &Outgoing {
        &self.lanes[usize::from(lane.to_byte())]
    }

    /// It is found there from now on.
    fn set_address(&self, address: &PeerAddress) {
        for lane in &self.lanes {
            lane.set_address(address.clone());
        }
    }
}

/// A member that this one has not heard of, but which says that it belongs to the cluster: see [`Links::takes_remote`].
struct Remote {
    peer: Peer,
    /// When it had a link to this member.
    seen: Instant,
}

/// See the module.
pub(crate) struct Links {
    pub(super) local: Local,
    pub(super) options: LinkOptions,
    pub(super) inbox: Inbox,
    pub(super) inbound: RefCell<BTreeMap<MemberId, Vec<Rc<Inbound>>>>,
    peers: RefCell<BTreeMap<MemberId, Peer>>,
    remotes: RefCell<BTreeMap<MemberId, Remote>>,
    removed: RefCell<BTreeSet<MemberId>>,
    /// Where this member is found by others.
    own_urls: RefCell<Vec<String>>,
    has_leader: Cell<bool>,
    pub(super) rejections: Rejections,
    activity: Activity,
    encoder: RefCell<Encoder>,
}

impl Links {
    /// Links of the member `local`, without peers yet.
    pub(crate) fn new(local: Local, options: LinkOptions, activity: Activity) -> Rc<Self> {
        let links = Rc::new(Links {
            local,
            options,
            inbox: Inbox::default(),
            inbound: RefCell::default(),
            peers: RefCell::default(),
            remotes: RefCell::default(),
            removed: RefCell::default(),
            own_urls: RefCell::default(),
            has_leader: Cell::new(false),
            rejections: Rejections::default(),
            activity,
            encoder: RefCell::default(),
        });
        let weak = Rc::downgrade(&links);
        glommio::spawn_local(async move {
            loop {
                glommio::timer::sleep(PING_INTERVAL).await;
                match weak.upgrade() {
                    Some(links) => links.check(),
                    None => return,
                }
            }
        })
        .detach();
        links
    }

    /// From now on these are the other members. Links to new ones begin, those to others end.
    pub(crate) fn set_peers(self: &Rc<Self>, addresses: Vec<PeerAddress>) {
        let mut peers = self.peers.borrow_mut();
        let own = self.local.member;
        let others = || {
            addresses
                .iter()
                .map(|address| address.member)
                .filter(|id| *id != own)
        };
        let wanted: BTreeSet<MemberId> = others().collect();
        self.activity.set_peers(&wanted);
        let gone: Vec<MemberId> = peers
            .keys()
            .filter(|id| !wanted.contains(id))
            .copied()
            .collect();
        for id in gone {
            peers.remove(&id);
            self.close_inbound(id);
            crate::info!("stopped remote peer", "remote-peer-id" => format!("{id:x}"));
        }
        // First, because every greeting says where this member is found.
        if let Some(itself) = addresses.iter().find(|address| address.member == own) {
            *self.own_urls.borrow_mut() = itself.urls.iter().map(Url::to_string).collect();
        }
        for address in addresses.iter().filter(|address| address.member != own) {
            let id = address.member;
            match peers.get(&id) {
                Some(peer) => peer.set_address(address),
                None => {
                    crate::info!("starting remote peer", "remote-peer-id" => format!("{id:x}"));
                    peers.insert(id, self.become_peer(address));
                }
            }
        }
    }

    /// Lanes to a member that is known from now on: those that it has already, if it was a remote one.
    fn become_peer(self: &Rc<Self>, address: &PeerAddress) -> Peer {
        let remote = self.remotes.borrow_mut().remove(&address.member);
        let Some(Remote { peer, .. }) = remote else {
            return self.start_peer(address, Sake::Member);
        };
        peer.lanes.iter().for_each(|lane| lane.became_member());
        peer.set_address(address);
        if peer.lane(Lane::Prompt).is_connected() {
            self.activity.became_active(address.member);
        }
        peer
    }

    /// Whether this member follows somebody, or leads.
    pub(crate) fn set_has_leader(&self, has_leader: bool) {
        self.has_leader.set(has_leader);
    }

    /// Where this member is found by others.
    pub(super) fn own_urls(&self) -> Vec<String> {
        self.own_urls.borrow().clone()
    }

    /// Whether a member that is not known here is linked to nevertheless. One that was away while others came may know
    /// nobody any more who is still there: who belongs to the cluster it can then only hear from a leader whom it does not
    /// know. (etcd's "remotes"; who dials says in its greeting where it is found.) Such a link carries messages and counts
    /// for nothing; a member with a leader needs none, and those that it knows to be removed are refused.
    pub(super) fn takes_remote(&self, hello: &Hello) -> bool {
        let remotes = self.remotes.borrow();
        if remotes.contains_key(&hello.from.member) {
            return true;
        }
        !self.has_leader.get() && remotes.len() < REMOTES && !remote_urls(hello).is_empty()
    }

    /// Links to a member that is not known here, where it says that it is found now.
    pub(super) fn add_remote(self: &Rc<Self>, hello: &Hello) {
        let address = PeerAddress {
            member: hello.from.member,
            urls: remote_urls(hello),
        };
        let mut remotes = self.remotes.borrow_mut();
        if address.urls.is_empty() {
            return;
        }
        if let Some(known) = remotes.get(&address.member) {
            known.peer.set_address(&address);
            return;
        }
        crate::info!(
            "added remote peer",
            "local-member-id" => format!("{:x}", self.local.member),
            "remote-peer-id" => format!("{:x}", address.member),
            "remote-peer-urls" => address.to_string(),
        );
        let remote = Remote {
            peer: self.start_peer(&address, Sake::Stranger),
            seen: Instant::now(),
        };
        remotes.insert(address.member, remote);
    }

    fn start_peer(self: &Rc<Self>, address: &PeerAddress, sake: Sake) -> Peer {
        let lanes = Lane::ALL.map(|lane| Outgoing::new(lane, address.clone(), sake));
        let start = |lane: &Rc<Outgoing>| {
            let seed = self.options.seed ^ address.member.rotate_left(lane.lane.to_byte().into());
            let (lane, links) = (Rc::clone(lane), Rc::downgrade(self));
            glommio::spawn_local(async move { lane.run(links, seed).await })
        };
        let tasks = lanes.iter().map(start).collect();
        Peer {
            lanes,
            _tasks: tasks,
        }
    }

    /// These members were removed from the cluster and are told so when they dial.
    pub(crate) fn set_removed(&self, removed: impl IntoIterator<Item = MemberId>) {
        let removed: BTreeSet<MemberId> = removed.into_iter().collect();
        for id in &removed {
            self.close_inbound(*id);
            self.remotes.borrow_mut().remove(id);
        }
        *self.removed.borrow_mut() = removed;
    }

    pub(super) fn is_peer(&self, member: MemberId) -> bool {
        self.peers.borrow().contains_key(&member)
    }

    pub(super) fn is_removed(&self, member: MemberId) -> bool {
        self.removed.borrow().contains(&member)
    }

    fn close_inbound(&self, member: MemberId) {
        let closed = self.inbound.borrow_mut().remove(&member);
        closed.iter().flatten().for_each(|inbound| inbound.close());
    }

    /// Sends messages with the next [`flush`](Self::flush), as far as their recipients can be reached and keep up. For
    /// proposals that certainly do not leave, `refused` gets the refusal that their leader would have sent.
    pub(crate) fn send(&self, messages: impl Iterator<Item = Message>, refused: &mut Vec<Message>) {
        let (peers, remotes) = (self.peers.borrow(), self.remotes.borrow());
        let mut encoder = self.encoder.borrow_mut();
        for message in messages {
            let lane = Lane::of(&message);
            let sent = find(&peers, &remotes, message.to)
                .is_some_and(|peer| peer.lane(lane).push_message(&message, &mut encoder));
            if !sent {
                refused.extend(refused_proposal(&message));
            }
        }
    }

    /// Sends parcels with the next [`flush`](Self::flush), as far as their recipients can be reached and keep up.
    pub(crate) fn send_parcels(&self, parcels: impl Iterator<Item = Parcel>) {
        let (peers, remotes) = (self.peers.borrow(), self.remotes.borrow());
        for parcel in parcels {
            let lane = match parcel.bulk {
                true => Lane::Bulk,
                false => Lane::Prompt,
            };
            if let Some(peer) = find(&peers, &remotes, parcel.to) {
                peer.lane(lane).push_parcel(&parcel.bytes);
            }
        }
    }

    /// Writes what was sent: once for each lane.
    pub(crate) fn flush(&self) {
        for (id, peer) in self.peers.borrow().iter() {
            self.flush_peer(*id, peer);
        }
        for (id, remote) in self.remotes.borrow().iter() {
            self.flush_peer(*id, &remote.peer);
        }
        self.inbox.announce();
    }

    fn flush_peer(&self, id: MemberId, peer: &Peer) {
        for lane in &peer.lanes {
            lane.flush();
            if lane.take_dropped() {
                self.inbox.put(lane.lane, Arrived::Unreachable(id));
            }
        }
    }

    /// Whether something has arrived; if not, this task is woken when it has.
    pub(crate) fn poll_arrived(&self, context: &Context<'_>) -> bool {
        self.inbox.poll(context)
    }

    /// Takes up to `budget` arrivals; whether there are more.
    pub(crate) fn take_arrived(&self, budget: usize, mut take: impl FnMut(Arrived)) -> bool {
        let mut left = budget;
        while left > 0 {
            let Some(arrived) = self.inbox.take() else {
                break;
            };
            take(arrived);
            left -= 1;
        }
        self.inbox.make_room();
        left == 0
    }

    fn check(&self) {
        for peer in self.peers.borrow().values() {
            peer.lanes.iter().for_each(|lane| lane.check());
        }
        let mut inbound = self.inbound.borrow_mut();
        inbound.retain(|_, connections| {
            connections.retain(|connection| connection.check());
            !connections.is_empty()
        });
        self.remotes.borrow_mut().retain(|id, remote| {
            remote.peer.lanes.iter().for_each(|lane| lane.check());
            if inbound.contains_key(id) {
                remote.seen = Instant::now();
            }
            let stays = remote.seen.elapsed() < REMOTE_LIFE;
            if !stays {
                crate::info!("removed remote peer", "remote-peer-id" => format!("{id:x}"));
            }
            stays
        });
    }

    /// A peer has dialled, so it is there: it is dialled back at once.
    pub(super) fn hurry(&self, member: MemberId) {
        let (peers, remotes) = (self.peers.borrow(), self.remotes.borrow());
        if let Some(peer) = find(&peers, &remotes, member) {
            peer.lanes.iter().for_each(|lane| lane.hurry.raise());
        }
    }

    pub(super) fn connected(&self, peer: MemberId, lane: Lane, welcome: &Welcome) {
        crate::info!(
            "established TCP streaming connection with remote peer",
            "stream-writer-type" => lane.to_string(),
            "local-member-id" => format!("{:x}", self.local.member),
            "remote-peer-id" => format!("{peer:x}"),
            "remote-release" => welcome.from.release.clone(),
        );
        if lane == Lane::Prompt {
            crate::info!("peer became active", "peer-id" => format!("{peer:x}"));
            self.activity.became_active(peer);
        }
    }

    pub(super) fn disconnected(&self, peer: MemberId, lane: Lane, reason: &str) {
        crate::warn!(
            "lost TCP streaming connection with remote peer",
            "stream-writer-type" => lane.to_string(),
            "local-member-id" => format!("{:x}", self.local.member),
            "remote-peer-id" => format!("{peer:x}"),
            "error" => reason.to_owned(),
        );
        if lane == Lane::Prompt {
            crate::warn!(
                "peer became inactive (message send to peer failed)",
                "peer-id" => format!("{peer:x}"),
                "error" => reason.to_owned(),
            );
            self.activity.became_inactive(peer);
        }
        self.inbox.put(lane, Arrived::Unreachable(peer));
        self.inbox.announce();
    }
}

fn find<'a>(
    peers: &'a BTreeMap<MemberId, Peer>,
    remotes: &'a BTreeMap<MemberId, Remote>,
    member: MemberId,
) -> Option<&'a Peer> {
    let remote = || remotes.get(&member).map(|remote| &remote.peer);
    peers.get(&member).or_else(remote)
}

/// Where somebody says that it is found, as far as that can be dialled.
fn remote_urls(hello: &Hello) -> Vec<Url> {
    let urls = hello.peer_urls.iter();
    urls.filter_map(|url| Url::parse(url).ok()).collect()
}
