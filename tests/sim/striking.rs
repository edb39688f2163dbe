//! When faults come, whom they meet, and what follows from them.

use std::{collections::BTreeSet, time::Duration};

use tidemill::{
    runtime::{Lane, Now},
    testing::{Fate, LaneRequest},
};

use crate::{
    faults::{Armed, Fault, PHASES, phase_of, strike},
    topology,
    world::{MS, World},
};

/// How long a zombie-to-be waits for its request to be sent.
const ZOMBIE: Duration = Duration::from_secs(3);

impl World {
    /// Faults are spread over the time in which input is fed.
    pub(crate) fn fault_times(&mut self) -> Vec<Duration> {
        let mut times: Vec<_> = (0..self.scenario.faults)
            .map(|_| Duration::from_micros(self.rng.u64(300_000..6_000_000)))
            .collect();
        times.sort();
        times
    }

    /// Arms a fault for a phase. What is needed to reach a rare phase is provoked.
    pub(crate) fn fault(&mut self, now: Now) {
        if self.instances.is_empty() {
            return;
        }
        let kinds = self.scenario.kinds;
        let fault = kinds[self.rng.usize(..kinds.len())];
        let phase = PHASES[self.rng.usize(..PHASES.len())];
        let free = |i: &usize| self.instances[*i].armed.borrow().is_none();
        let free: Vec<usize> = (0..self.instances.len()).filter(free).collect();
        if free.is_empty() {
            return;
        }
        let index = free[self.rng.usize(..free.len())];
        let name = self.instances[index].name.clone();
        match phase {
            "abort" => self.cluster.force_rebalance(topology::APP),
            "resolve" => {
                for lane in Lane::ALL {
                    let fate = Fate::ALL[self.rng.usize(..Fate::ALL.len())];
                    self.cluster.lose_answer(&name, lane, LaneRequest::Commit, fate);
                }
            }
            _ => {}
        }
        let until = now.mono + Duration::from_secs(3);
        let (skip, draw) = (self.rng.u8(..3), self.rng.usize(..40));
        let armed = Armed { fault, phase, until, skip, draw };
        *self.instances[index].armed.borrow_mut() = Some(armed);
    }

    /// Armed faults whose phase is not inside a step, or does not come; and those made in a step.
    pub(crate) fn settle_faults(&mut self, now: Now) {
        let mut due = vec![];
        for (index, instance) in self.instances.iter().enumerate() {
            for (fault, phase) in instance.made.borrow_mut().drain(..) {
                *self.report.met.entry((fault, phase)).or_default() += 1;
                match fault {
                    Fault::Leave => due.push((index, None)),
                    Fault::Overtake => {
                        self.zombies.push((instance.name.clone(), now.mono + ZOMBIE))
                    }
                    _ => {}
                }
            }
            let armed = *instance.armed.borrow();
            if let Some(armed) = armed
                && instance.frozen_until.is_none()
            {
                let shown = phase_of(instance.thread.phase());
                let between = matches!(armed.phase, "abort" | "resolve") && shown == armed.phase;
                if between || now.mono >= armed.until {
                    *instance.armed.borrow_mut() = None;
                    *self.report.met.entry((armed.fault, shown)).or_default() += 1;
                    due.push((index, Some(armed)));
                }
            }
        }
        for (index, fault) in due.into_iter().rev() {
            if let Some(Armed { fault, .. }) = fault {
                self.cluster.note(&self.instances[index].name, &format!("FAULT {fault:?}"));
            }
            match fault.map(|armed| armed.fault) {
                None | Some(Fault::Leave) => {
                    let leave = self.rng.bool();
                    self.instances[index].thread.stop(leave);
                }
                Some(Fault::Crash) => self.crash(index, now),
                Some(Fault::Freeze) => {
                    let span = MS * self.rng.u32(50..15_000);
                    self.freeze(index, now.mono + span);
                }
                Some(kind) => {
                    let name = &self.instances[index].name;
                    if kind == Fault::Overtake {
                        self.zombies.push((name.clone(), now.mono + ZOMBIE));
                    }
                    strike(&self.cluster, name, kind, fault.map_or(0, |armed| armed.draw));
                }
            }
        }
        self.end_zombies(now);
    }

    fn freeze(&mut self, index: usize, until: Duration) {
        self.cluster.freeze(&self.instances[index].name);
        self.instances[index].frozen_until = Some(until);
    }

    /// Who has a request on its way that is held back dies now, or freezes for longer than its
    /// session.
    fn end_zombies(&mut self, now: Now) {
        for (name, until) in std::mem::take(&mut self.zombies) {
            let held = self.cluster.holds_back(&name);
            let index = self.instances.iter().position(|i| i.name == name);
            let Some(index) = index.filter(|i| self.instances[*i].frozen_until.is_none()) else {
                continue;
            };
            if !held && now.mono < until {
                self.zombies.push((name, until));
            } else if held && self.rng.bool() {
                self.cluster.note(&name, "dies with a request on its way");
                self.crash(index, now);
            } else if held {
                self.cluster.note(&name, "freezes with a request on its way");
                let span = MS * self.rng.u32(6_500..15_000);
                self.freeze(index, now.mono + span);
            }
        }
    }

    pub(crate) fn crash(&mut self, index: usize, now: Now) {
        let instance = self.instances.remove(index);
        self.note_counters(&instance);
        self.cluster.crash(&instance.name);
        let name = instance.name.clone();
        // Before its stores are dropped: a write in progress dies with the process.
        if let Some(disk) = self.disks.get_mut(&name) {
            disk.crash(&mut self.rng);
        }
        drop(instance);
        // Another one takes the name after a while; sometimes on a new disk.
        if self.rng.u8(..6) == 0 {
            self.disks.remove(&name);
        }
        self.restarts.push((now.mono + MS * self.rng.u32(10..9_000), name));
    }

    pub(crate) fn wake(&mut self, now: Now) {
        for instance in &mut self.instances {
            if instance.frozen_until.is_some_and(|until| now.mono >= until) {
                instance.frozen_until = None;
                self.cluster.thaw(&instance.name);
            }
        }
        let due: Vec<String> = self
            .restarts
            .iter()
            .filter(|(at, _)| now.mono >= *at)
            .map(|(_, n)| n.clone())
            .collect();
        self.restarts.retain(|(at, _)| now.mono < *at);
        for name in due {
            self.cluster.note(&name, "started again");
            self.start(&name);
        }
    }

    pub(crate) fn settle_crashes(&mut self, crashed: &BTreeSet<usize>, now: Now) {
        for index in crashed.iter().rev() {
            for (fault, phase) in self.instances[*index].made.borrow_mut().drain(..) {
                *self.report.met.entry((fault, phase)).or_default() += 1;
            }
            self.crash(*index, now);
        }
    }
}
