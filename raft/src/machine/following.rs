//! The follower's side of replication.

use super::Raft;
use crate::MemberId;
use crate::entry::{Entry, LogPoint};
use crate::error::StepError;
use crate::message::Body;
use crate::output::Role;

/// The content of an append message.
#[derive(Clone, Copy)]
pub(super) struct Appended<'a> {
    pub(super) previous: LogPoint,
    pub(super) entries: &'a [Entry],
    pub(super) commit: u64,
}

impl Appended<'_> {
    fn end(&self) -> u64 {
        self.previous.index + self.entries.len() as u64
    }
}

impl Raft {
    pub(super) fn handle_append(
        &mut self,
        from: MemberId,
        append: Appended<'_>,
    ) -> Result<(), StepError> {
        let append = self.skip_committed(append);
        if append.end() < self.hard.commit {
            // All of it is committed here, so it equals the leader's log without looking.
            self.following.matched = self.following.matched.max(self.hard.commit);
            self.following.wanted = self.following.wanted.max(Some(append.end()));
            return Ok(());
        }
        let LogPoint { index, term } = append.previous;
        if self.log.term(index) != Some(term) {
            if index <= self.hard.commit {
                return Err(StepError::Contradiction { from, index });
            }
            let hint = self.log.last_with_term_up_to(index, term);
            self.send(
                from,
                Body::AppendRejected {
                    previous: index,
                    hint,
                },
            );
            return Ok(());
        }
        self.take_entries(from, append.entries)?;
        if self.following.matched == 0 {
            // What was durable before the leader spoke is no news to it on the way to what it sends.
            self.following.acknowledged = self.writes.durable_index().min(append.end());
        }
        self.following.matched = self.following.matched.max(append.end());
        self.following.wanted = self.following.wanted.max(Some(append.end()));
        self.commit_to(append.commit.min(append.end()));
        Ok(())
    }

    /// Leaves out entries that are committed here, unless all are.
    fn skip_committed<'a>(&self, append: Appended<'a>) -> Appended<'a> {
        let known = self.hard.commit.saturating_sub(append.previous.index) as usize;
        match known
            .checked_sub(1)
            .and_then(|last| append.entries.get(last))
        {
            Some(entry) => Appended {
                previous: entry.point(),
                entries: &append.entries[known..],
                commit: append.commit,
            },
            None => append,
        }
    }

    /// Appends what is new, after dropping what contradicts it.
    fn take_entries(&mut self, from: MemberId, entries: &[Entry]) -> Result<(), StepError> {
        let differs = |entry: &&Entry| self.log.term(entry.index) != Some(entry.term);
        let Some(first) = entries.iter().find(differs).map(|entry| entry.index) else {
            return Ok(());
        };
        if first <= self.hard.commit || first <= self.following.matched {
            return Err(StepError::Contradiction { from, index: first });
        }
        if first <= self.log.last_index() {
            self.log.truncate(first);
            self.writes.truncated(first);
            self.apply.truncated(first);
        }
        for entry in entries.iter().filter(|entry| entry.index >= first) {
            self.apply.appended(entry);
            self.log.push(entry.clone());
        }
        Ok(())
    }

    /// Tells the leader what is durable here, if that is news or was asked for.
    pub(super) fn acknowledge(&mut self) {
        let (Role::Follower, Some(leader)) = (self.role, self.leader) else {
            return;
        };
        let index = self.writes.durable_index().min(self.following.matched);
        let asked = self.following.wanted.is_some_and(|wanted| wanted <= index);
        if asked || index > self.following.acknowledged {
            self.following.acknowledged = index;
            if asked {
                self.following.wanted = None;
            }
            self.send(leader, Body::AppendResponse { index });
        }
    }
}
