//! What clients ask for.

use reeve_raft::MemberId;

use crate::support::data;
use crate::world::{Event, World};

impl World {
    pub(crate) fn propose(&mut self) -> Result<(), String> {
        let every = self.options.propose.max(1);
        let pause = self.random.between(every / 2, every * 3 / 2);
        self.schedule(pause, Event::Propose);
        let mut id = self.random.pick(&self.options.all());
        if self.random.chance(300) {
            id = self.some_leader().unwrap_or(id);
        }
        let burst = if !self.calm && self.random.chance(50) {
            20
        } else {
            1
        };
        self.propose_to(id, burst)
    }

    pub(crate) fn propose_to(&mut self, id: MemberId, count: u64) -> Result<(), String> {
        for _ in 0..count {
            self.counter += 1;
            let bytes = data(&format!("command {}", self.counter));
            let counter = self.counter;
            let node = self.nodes.get_mut(&id).unwrap();
            if !node.host.is_up() || node.paused_until > self.now {
                return Ok(());
            }
            if node.host.raft().propose(bytes.clone()).is_err() {
                let kind = reeve_raft::EntryKind::Command;
                let _ = node
                    .host
                    .raft()
                    .forward(counter, kind, vec![bytes.clone(), bytes]);
            }
        }
        self.settle(id)
    }

    pub(crate) fn read(&mut self) -> Result<(), String> {
        let every = self.options.read.max(1);
        let pause = self.random.between(every / 2, every * 3 / 2);
        self.schedule(pause, Event::Read);
        let mut id = self.random.pick(&self.options.all());
        if self.random.chance(400) {
            id = self.some_leader().unwrap_or(id);
        }
        let clock = self.clock(id);
        let floor = self.checks.committed_index();
        self.counter += 1;
        let counter = self.counter;
        let node = self.nodes.get_mut(&id).unwrap();
        if !node.host.is_up() || node.paused_until > self.now {
            return Ok(());
        }
        if let Some(index) = node.host.raft().lease_read(clock) {
            self.summary.lease_reads += 1;
            if index < floor {
                return Err(format!(
                    "{id} reads by lease at {index}, but {floor} was committed"
                ));
            }
        }
        if node.host.raft().read_index(counter).is_ok() {
            node.reads.insert(counter, floor);
        }
        self.settle(id)
    }
}
