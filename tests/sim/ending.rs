//! When a run is over, and what is made of it.

use tidemill::{
    record::{Offset, TopicPartition},
    runtime::Guarantee,
};

use crate::{
    instances::Instance,
    oracle::{self, Seen},
    scenario::Report,
    topology,
    world::{MS, World},
};

impl World {
    /// Everything fed is in committed outputs, and nothing is pending. What is there twice counts
    /// once.
    pub(crate) fn is_done(&self) -> bool {
        let mut following = self.following.borrow_mut();
        following.follow(&self.cluster);
        let timers_settled = following.timers_set == following.timers_fired;
        following.is_complete(self.scenario.transfers)
            // At least once, also timers may be set twice.
            && (timers_settled || self.scenario.guarantee == Guarantee::AtLeastOnce)
            && self.cluster.open_transactions().is_empty()
    }

    pub(crate) fn seen(&self, topic: &str) -> Vec<Vec<Seen>> {
        let partition = |number| {
            let mut records = vec![];
            let at = TopicPartition::new(topic, number);
            self.cluster.visit_committed(&at, Offset(0), |key, value| {
                records.push(Seen { key: text(key), value: text(value) });
            });
            records
        };
        (0..self.cluster.partitions(topic)).map(partition).collect()
    }

    pub(crate) fn note_counters(&mut self, instance: &Instance) {
        let counters = instance.thread.counters();
        self.report.epochs += counters.epochs_committed;
        self.report.aborted += counters.epochs_aborted;
        self.report.resolved += counters.epochs_resolved;
        self.report.takeovers += counters.takeovers;
    }

    pub(crate) fn describe(&self) -> String {
        let instances = self
            .instances
            .iter()
            .map(|i| format!("{} {} {:?}", i.name, i.thread.phase(), i.thread.running_tasks()));
        let mut following = self.following.borrow_mut();
        following.follow(&self.cluster);
        format!(
            "fed {}, postings {}, outputs {}, timers set {} fired {}, {:?}, open transactions {:?}",
            self.fed,
            following.postings,
            following.outputs,
            following.timers_set,
            following.timers_fired,
            instances.collect::<Vec<_>>(),
            self.cluster.open_transactions()
        )
    }

    pub(crate) fn finish(mut self) -> Report {
        self.watch_postings();
        for instance in std::mem::take(&mut self.instances) {
            self.note_counters(&instance);
        }
        // What is still on its way must not change what was decided either.
        self.cluster.release_held();
        self.cluster.advance(2_000 * MS);
        if self.scenario.judged {
            let (postings, balances) = (self.postings(), self.seen(topology::BALANCES));
            self.report.verdict = oracle::check(self.scenario.transfers, &postings, &balances);
        }
        if self.scenario.trace {
            for topic in self.cluster.topics() {
                for p in 0..6 {
                    let at = TopicPartition::new(topic.clone(), p);
                    println!("{at} {:?}", self.cluster.bounds(&at));
                }
            }
            println!("{}", self.cluster.trace());
        }
        self.report.problems.extend(self.cluster.violations());
        self.report.fingerprint = self.cluster.fingerprint();
        self.report.logs = self.cluster.logs_digest();
        self.report.kinds = self.cluster.fault_counts();
        self.report.virtual_time = self.cluster.now().mono;
        self.report
    }
}

/// A key or a value; null is an empty text.
pub(crate) fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}
