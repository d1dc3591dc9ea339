//! Timers, campaigns and votes.

use super::{Election, Following, Leading, Raft};
use crate::MemberId;
use crate::config::Config;
use crate::entry::{EntryKind, LogPoint};
use crate::message::{Body, MAX_PLAUSIBLE};
use crate::output::Role;
use crate::progress::Progress;
use crate::quorum::{self, Tally};
use crate::random::Random;

impl Election {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            random: Random::new(config.seed),
            elapsed: 0,
            heartbeat_elapsed: 0,
            timeout: 0,
            quiet: if config.lease_nanoseconds.is_some() {
                config.election_ticks
            } else {
                0
            },
            votes: std::collections::BTreeMap::new(),
            transfer: false,
        }
    }
}

/// How a campaign begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Campaign {
    /// Ask first.
    Pre,
    /// Take a new term.
    Real,
    /// Take a new term because the leader said so.
    Transfer,
}

impl Raft {
    /// One tick of the host's timer has passed. Ticks that are late because the process stood still
    /// should be dropped, not made up for.
    pub fn tick(&mut self) {
        self.election.quiet = self.election.quiet.saturating_sub(1);
        self.election.elapsed = self.election.elapsed.saturating_add(1);
        self.reads.tick(self.config.election_ticks);
        if self.role == Role::Leader {
            self.tick_leader();
        } else if self.election.elapsed >= self.election.timeout {
            if self.may_campaign() {
                self.campaign_now();
            } else {
                self.set_leader(None);
            }
        } else if self.role == Role::PreCandidate
            && self
                .election
                .elapsed
                .is_multiple_of(self.config.heartbeat_ticks)
        {
            // Whoever heard the old leader last may have refused because of that alone. To wait for the next timeout could
            // cost two of them, if nobody else has a log to win with.
            self.ask_for_votes();
        }
    }

    fn tick_leader(&mut self) {
        if self.election.elapsed >= self.config.election_ticks {
            self.election.elapsed = 0;
            if !self.quorum_is_active() {
                self.become_follower(self.hard.term, None);
                return;
            }
        }
        if let Some(transfer) = &mut self.leading.transfer {
            transfer.elapsed += 1;
            if transfer.elapsed >= self.config.election_ticks {
                self.leading.transfer = None;
            }
        }
        self.election.heartbeat_elapsed += 1;
        if self.election.heartbeat_elapsed >= self.config.heartbeat_ticks {
            self.election.heartbeat_elapsed = 0;
            self.heartbeat_all();
        }
    }

    /// Begins an election without waiting for the timeout, for instance at the host's start. Without
    /// effect where an election would not be allowed: on a leader, a learner, while a committed
    /// configuration entry is not applied, and, with leases on, while the leader is alive.
    pub fn campaign(&mut self) {
        if self.role != Role::Leader
            && !(self.config.lease_nanoseconds.is_some() && self.in_lease())
        {
            self.campaign_now();
        }
    }

    fn campaign_now(&mut self) {
        self.start_campaign(if self.config.pre_vote {
            Campaign::Pre
        } else {
            Campaign::Real
        });
    }

    /// The only voter has nobody to wait for.
    pub(super) fn campaign_if_alone(&mut self) {
        if self.is_alone() && matches!(self.role, Role::Follower | Role::PreCandidate) {
            self.start_campaign(Campaign::Real);
        }
    }

    /// Whether this member is the only voter.
    pub(super) fn is_alone(&self) -> bool {
        self.configuration.voters() == [self.config.id]
    }

    /// A member may campaign unless its own idea of the configuration may be out of date by more
    /// than one change (design of etcd: a configuration counts from when it is applied).
    fn may_campaign(&self) -> bool {
        let unapplied = self
            .apply
            .first_configuration()
            .is_some_and(|at| at <= self.hard.commit);
        // Beyond that nobody would listen, nor would this member start again.
        let has_next_term = self.hard.term < MAX_PLAUSIBLE;
        self.configuration.is_voter(self.config.id)
            && !unapplied
            && self.apply.installing.is_none()
            && has_next_term
    }

    pub(super) fn start_campaign(&mut self, campaign: Campaign) {
        assert!(self.role != Role::Leader, "a leader does not campaign");
        if !self.may_campaign() {
            return;
        }
        self.election.elapsed = 0;
        self.draw_timeout();
        self.set_leader(None);
        self.election.votes.clear();
        self.election.transfer = campaign == Campaign::Transfer;
        if campaign == Campaign::Pre && !self.is_alone() {
            self.role = Role::PreCandidate;
            self.ask_for_votes();
            self.count_vote(self.config.id, true);
        } else {
            self.role = Role::Candidate;
            self.enter_term(self.hard.term + 1);
            self.hard.vote = Some(self.config.id);
            self.ask_for_votes();
        }
    }

    fn ask_for_votes(&mut self) {
        let last = self.log.last();
        let transfer = self.election.transfer;
        let body = match self.role {
            Role::PreCandidate => Body::PreVote { last },
            _ => Body::Vote { last, transfer },
        };
        let own = self.config.id;
        let voters = self.configuration.voters().to_vec();
        for voter in voters.into_iter().filter(|&voter| voter != own) {
            self.send(voter, body.clone());
        }
    }

    /// A voter has answered; our own vote counts once it is durable.
    pub(super) fn count_vote(&mut self, voter: MemberId, granted: bool) {
        if !self.configuration.is_voter(voter) {
            return;
        }
        match self.role {
            // It is asked again and again, and its last word counts.
            Role::PreCandidate => self.election.votes.insert(voter, granted),
            _ => Some(*self.election.votes.entry(voter).or_insert(granted)),
        };
        let votes = &self.election.votes;
        let tally = quorum::tally(
            self.configuration
                .voters()
                .iter()
                .map(|id| votes.get(id).copied()),
        );
        match (tally, self.role) {
            (Tally::Open, _) => {}
            (Tally::Won, Role::PreCandidate) => self.start_campaign(Campaign::Real),
            (Tally::Won, _) => self.become_leader(),
            // Nothing was taken from anybody: it goes on asking until the timeout.
            (Tally::Lost, Role::PreCandidate) => {}
            (Tally::Lost, _) => {
                self.become_follower(self.hard.term, None);
                self.hurry();
            }
        }
        if self.role == Role::Candidate && !granted {
            self.hurry();
        }
    }

    /// A campaign is known to fail, most likely because two have split the votes: the next one begins soon, at a moment that
    /// is drawn anew. A pre-vote comes first, so that nobody's term is raised in vain.
    fn hurry(&mut self) {
        if self.config.pre_vote {
            let soon = 1 + self
                .election
                .random
                .below(self.config.election_ticks.div_ceil(2));
            let timeout = self.election.elapsed.saturating_add(soon);
            self.election.timeout = self.election.timeout.min(timeout);
        }
    }

    /// Takes a newer term: no vote in it yet, and what waited to be said in the old one is moot.
    fn enter_term(&mut self, term: u64) {
        assert!(term > self.hard.term, "terms only rise");
        self.hard.term = term;
        self.hard.vote = None;
        self.writes.term_changed();
        self.held.clear();
        self.reads.restart();
        self.following = Following::default();
    }

    /// Follows `leader`, or waits for one, in `term`.
    pub(super) fn become_follower(&mut self, term: u64, leader: Option<MemberId>) {
        if term > self.hard.term {
            self.enter_term(term);
        }
        self.role = Role::Follower;
        self.set_leader(leader);
        self.leading = Leading::default();
        self.lease.confirmed = None;
        self.election.elapsed = 0;
        self.election.votes.clear();
        self.draw_timeout();
    }

    fn become_leader(&mut self) {
        assert!(
            self.role == Role::Candidate,
            "only a candidate becomes leader"
        );
        assert!(
            self.hard.vote == Some(self.config.id),
            "a leader has voted for itself"
        );
        assert!(self.writes.is_term_durable(), "a leader's term is durable");
        self.role = Role::Leader;
        self.set_leader(Some(self.config.id));
        self.election.elapsed = 0;
        self.election.heartbeat_elapsed = 0;
        self.election.votes.clear();
        let next = self.log.last_index() + 1;
        self.leading = Leading {
            term_start: next,
            ..Leading::default()
        };
        self.lease.confirmed = None;
        let own = self.config.id;
        for member in self.configuration.members().filter(|&member| member != own) {
            self.leading.progress.insert(member, Progress::new(next));
        }
        // It goes to all peers with the next drain, which is as good as a heartbeat.
        self.append(EntryKind::Empty, bytes::Bytes::new());
    }

    /// A change of the leader makes all waiting reads begin again.
    pub(super) fn set_leader(&mut self, leader: Option<MemberId>) {
        if self.leader != leader {
            self.leader = leader;
            self.reads.restart();
        }
    }

    pub(super) fn draw_timeout(&mut self) {
        let election = self.config.election_ticks;
        self.election.timeout = election + self.election.random.below(election);
    }

    /// Whether this member has promised not to help anybody against the present leader (thesis,
    /// sections 4.2.3 and 6.4.1).
    pub(super) fn in_lease(&self) -> bool {
        let heard = self.leader.is_some() && self.election.elapsed < self.config.election_ticks;
        self.role == Role::Leader || heard || self.election.quiet > 0
    }

    pub(super) fn handle_pre_vote(&mut self, from: MemberId, term: u64, last: LogPoint) {
        let campaign_term = term + 1;
        let granted = campaign_term > self.hard.term
            && last.is_up_to_date_with(self.log.last())
            && !self.in_lease();
        self.send(
            from,
            Body::PreVoteResponse {
                campaign_term,
                granted,
            },
        );
    }

    pub(super) fn handle_vote(&mut self, from: MemberId, last: LogPoint) {
        let free = self.hard.vote.is_none() && self.leader.is_none();
        let granted =
            (free || self.hard.vote == Some(from)) && last.is_up_to_date_with(self.log.last());
        if granted {
            self.election.elapsed = 0;
            if self.hard.vote.is_none() {
                self.hard.vote = Some(from);
                self.writes.term_changed();
            }
        }
        self.send(from, Body::VoteResponse { granted });
    }

    /// The leader wants this member to take over.
    pub(super) fn handle_timeout_now(&mut self) {
        if self.configuration.is_voter(self.config.id) {
            self.start_campaign(Campaign::Transfer);
        }
    }
}
