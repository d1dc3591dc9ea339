//! The connections of one worker, as its driver sees them.

use mio::Registry;

use super::clock::Nanos;
use super::error::BenchResult;
use super::http2::Connection;
use super::link::{Link, State};
use super::method::Method;
use super::target::Target;

/// A connection of this worker, counted from 0.
pub type LinkId = usize;

/// The connections of one worker.
pub struct Links {
    pub(super) links: Vec<Link>,
    pub(super) dirty: Vec<LinkId>,
    pub(super) registry: Registry,
    pub(super) target: Target,
    /// Links that failed while a driver was using them, for the worker to report.
    pub(super) failed: Vec<(LinkId, String)>,
    /// The number of the token that calls carry, and since when they do.
    pub(super) token_number: u64,
    pub(super) token_since: Nanos,
    /// The token is void, and a new one has been asked for.
    pub(super) logging_in: bool,
    /// A call has been answered with this token.
    pub(super) token_works: bool,
    /// A driver has seen its token refused in a message of a stream.
    pub(super) login_wanted: bool,
}

impl Links {
    /// `count` links, spread over the endpoints from number `first` on.
    pub(super) fn new(target: Target, registry: Registry, first: usize, count: usize) -> Self {
        let endpoints = target.endpoints.len();
        let links = (0..count)
            .map(|index| Link::new((first + index) % endpoints))
            .collect();
        Self {
            links,
            dirty: Vec::new(),
            registry,
            token_number: target
                .login
                .as_ref()
                .map_or(0, |login| login.token().number),
            token_since: 0,
            logging_in: false,
            token_works: false,
            login_wanted: false,
            target,
            failed: Vec::new(),
        }
    }

    /// Number of links, up or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there are no links at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether calls can be made on the link.
    #[must_use]
    pub fn usable(&self, link: LinkId) -> bool {
        let link = &self.links[link];
        link.state == State::Up && !link.connection.is_going_away() && !self.logging_in
    }

    /// A message on a stream said that the token is void: a new one is wanted.
    pub fn want_login(&mut self) {
        self.login_wanted = true;
    }

    /// Whether a call that was sent at `sent`, and whose token was refused, is to be made again: a
    /// newer token is there or is being asked for.
    #[must_use]
    pub fn renews_token(&self, sent: Nanos) -> bool {
        self.logging_in || sent <= self.token_since
    }

    /// Number of links that are up.
    #[must_use]
    pub fn up(&self) -> usize {
        self.links
            .iter()
            .filter(|link| link.state == State::Up)
            .count()
    }

    /// The endpoint (index) that a link goes to.
    #[must_use]
    pub fn endpoint(&self, link: LinkId) -> usize {
        self.links[link].endpoint
    }

    /// When the link's present connection was begun.
    #[must_use]
    pub fn opened_at(&self, link: LinkId) -> Nanos {
        self.links[link].opened_at
    }

    /// Starts a unary call; its events carry `tag`.
    pub fn unary(
        &mut self,
        link: LinkId,
        method: Method,
        tag: u32,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        self.touch(link).call(method, tag, true, encode);
    }

    /// Starts a streaming call with its first message.
    pub fn stream(
        &mut self,
        link: LinkId,
        method: Method,
        tag: u32,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        self.touch(link).call(method, tag, false, encode);
    }

    /// Sends a further message of a streaming call; false when the call is over.
    pub fn send(&mut self, link: LinkId, tag: u32, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.touch(link).send(tag, false, encode)
    }

    /// Gives up a call; no further event comes of it.
    pub fn cancel(&mut self, link: LinkId, tag: u32) {
        self.touch(link).cancel(tag);
    }

    /// Begins to connect a link that is down.
    ///
    /// # Errors
    /// Only for settings no connection can be made with.
    pub fn open(&mut self, link: LinkId, now: Nanos) -> BenchResult<()> {
        let Self {
            links,
            registry,
            target,
            failed,
            ..
        } = self;
        if let Err(error) = links[link].open(target, registry, link, now)? {
            failed.push((link, links[link].reason(target, &error)));
        }
        Ok(())
    }

    /// Closes a link at once; its calls yield no further events, and it stays down.
    pub fn close(&mut self, link: LinkId) {
        self.links[link].connection.abandon();
        self.links[link].close();
    }

    fn touch(&mut self, link: LinkId) -> &mut Connection {
        let slot = &mut self.links[link];
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(link);
        }
        &mut slot.connection
    }
}
