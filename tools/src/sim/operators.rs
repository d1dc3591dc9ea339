//! What operators do: they move leadership, add and remove members, and replace those whose disks are damaged.

use super::Checked;
use super::finding;
use super::member::Member;
use super::options::{MILLISECOND, SECOND, TICK};
use super::world::{Event, World};
use reeve_node::MembersChanged;
use reeve_raft::{ChangeKind, ConfigurationChange, ConfigurationState, MemberId};

/// Clusters do not grow beyond this.
const MOST_MEMBERS: usize = 7;

impl World {
    /// All members that are not gone for good.
    pub(crate) fn everybody(&self) -> Vec<MemberId> {
        let here = self.members.values().filter(|member| !member.is_gone());
        here.map(|member| member.id).collect()
    }

    /// The members as of the last change that has taken effect anywhere.
    pub(crate) fn configuration(&self) -> ConfigurationState {
        let last = self.configurations.last_key_value();
        last.map_or_else(
            || ConfigurationState::new(self.options.first_members(), []).unwrap_or_default(),
            |(_, known)| known.clone(),
        )
    }

    /// Somebody who may be leader, as an operator would find it.
    pub(crate) fn some_leader(&mut self) -> Option<MemberId> {
        let leads = |id: &MemberId| {
            let running = self.members[id].running.as_ref();
            running.is_some_and(|running| running.node.consensus().is_leader())
        };
        let leaders: Vec<MemberId> = self.everybody().into_iter().filter(leads).collect();
        (!leaders.is_empty()).then(|| self.random.pick(&leaders))
    }

    pub(crate) fn transfer(&mut self, to: MemberId) -> Checked {
        let Some(leader) = self.some_leader() else {
            return Ok(());
        };
        let member = self.members.get_mut(&leader);
        if let Some(running) = member.and_then(|member| member.running.as_mut()) {
            // It may lead already, or a transfer may be under way: then nothing happens.
            if running.node.transfer_leadership(to).is_ok() {
                self.summary.count("leader moves");
            }
        }
        self.settle(leader)
    }

    /// An operator changes the members; a hasty one asks for two changes at once.
    pub(crate) fn change_members(&mut self) -> Checked {
        let is_well = !self
            .configuration()
            .members()
            .any(|id| self.members[&id].is_gone());
        let has_room = self.everybody().len() + 1 < MOST_MEMBERS;
        if is_well && has_room && self.random.chance(self.options.faults.hasty_permille) {
            for _ in 0..2 {
                let member = self.new_member();
                self.ask_for_change(ChangeKind::AddVoter, member)?;
            }
        } else if let Some((kind, member)) = self.choose_change() {
            self.ask_for_change(kind, member)?;
        }
        Ok(())
    }

    fn choose_change(&mut self) -> Option<(ChangeKind, MemberId)> {
        let now = self.configuration();
        let lost = now.members().find(|id| self.members[id].is_gone());
        let learners = now.learners().to_vec();
        let voters = now.voters().to_vec();
        // Whoever is damaged is replaced before anything else is tried.
        if let Some(lost) = lost {
            return Some((ChangeKind::Remove, lost));
        }
        if !learners.is_empty() && self.random.chance(600) {
            return Some((ChangeKind::AddVoter, self.random.pick(&learners)));
        }
        if voters.len() < 3 || self.random.chance(500) {
            return (self.everybody().len() < MOST_MEMBERS).then(|| {
                let kind = self
                    .random
                    .pick(&[ChangeKind::AddLearner, ChangeKind::AddVoter]);
                (kind, self.new_member())
            });
        }
        let all: Vec<MemberId> = now.members().collect();
        let member = self.random.pick(&all);
        (voters.len() > 3 || now.is_learner(member)).then_some((ChangeKind::Remove, member))
    }

    /// An id that no member has had.
    fn new_member(&mut self) -> MemberId {
        let id = self
            .members
            .last_key_value()
            .map_or(1, |(last, _)| last + 1);
        let member = Member::new(id, &self.options, &mut self.random);
        self.members.insert(id, member);
        id
    }

    fn ask_for_change(&mut self, kind: ChangeKind, member: MemberId) -> Checked {
        let change = ConfigurationChange {
            kind,
            member,
            context: bytes::Bytes::new(),
        };
        let mut is_taken = false;
        // Whom the operator asks first may not know a leader, or be down.
        for id in self.some_leader().into_iter().chain(self.everybody()) {
            let known = self.members.get_mut(&id);
            let Some(running) = known.and_then(|member| member.running.as_mut()) else {
                continue;
            };
            if running.node.propose_members(&change).is_ok() {
                self.summary.count("changes of members asked for");
                is_taken = true;
                if kind != ChangeKind::Remove {
                    self.newcomers.push((self.now, member));
                }
                self.settle(id)?;
                break;
            }
        }
        let latest = self.random.pick(&[20 * MILLISECOND, SECOND]);
        let delay = self.random.between(MILLISECOND, latest);
        let added = self.members.get_mut(&member).filter(|it| it.life == 0);
        if let Some(added) = added {
            // Whom nobody has taken in is not started at all.
            added.has_left = !is_taken;
            if is_taken {
                self.schedule(0, Event::Tick(member));
                self.schedule(delay, Event::Restart(member));
            }
        }
        Ok(())
    }

    /// A change has taken effect on a member: it is the same on all, and who was removed leaves.
    pub(crate) fn members_changed(&mut self, id: MemberId, changed: MembersChanged) -> Checked {
        let Ok(state) = changed.outcome else {
            self.summary.count("changes of members refused");
            return Ok(());
        };
        let is_new = !self.configurations.contains_key(&changed.index);
        let known = self.configurations.entry(changed.index);
        let known = known.or_insert_with(|| state.clone());
        if *known != state {
            return Err(finding!(
                "at {} the members are {state:?} for {id}, but {known:?} for another",
                changed.index
            ));
        }
        if is_new {
            self.summary.count("changes of members");
            self.maybe_split(id);
        }
        if !state.contains(id) {
            let delay = self.random.between(0, 2 * SECOND);
            self.schedule(delay, Event::Leave(id));
        }
        Ok(())
    }

    /// A removed member stops for good.
    pub(crate) fn leave(&mut self, id: MemberId) {
        let now = self.now;
        if self.configuration().contains(id) {
            return;
        }
        if let Some(member) = self.members.get_mut(&id)
            && !member.has_left
        {
            if member.running.is_some() {
                member.kill(now);
            }
            member.has_left = true;
            self.summary.count("members that have left");
            self.disconnect(id);
        }
    }

    /// Members that are gone are taken out of the configuration, and those that it does not name are switched off.
    pub(crate) fn tidy_up(&mut self) -> Checked {
        if !self.calm {
            return Ok(());
        }
        let now = self.configuration();
        for id in self.everybody() {
            if !now.contains(id) && self.is_settled() {
                self.leave(id);
            }
        }
        if let Some(lost) = now.members().find(|id| self.members[id].is_gone()) {
            self.ask_for_change(ChangeKind::Remove, lost)?;
        }
        self.schedule(10 * TICK, Event::TidyUp);
        Ok(())
    }

    /// Whether the faults have been over for long enough for all changes to have been heard of.
    fn is_settled(&self) -> bool {
        self.now > self.options.faulty + 5 * SECOND
    }
}
