//! When a run is over, and what is made of it.

use std::collections::BTreeSet;

use tidemill::{record::TopicPartition, runtime::Guarantee};

use crate::{
    instances::Instance,
    oracle::{self, Seen},
    scenario::Report,
    topology,
    world::World,
};

impl World {
    /// Everything fed is in committed outputs, and nothing is pending. What is there twice counts
    /// once.
    pub(crate) fn is_done(&self) -> bool {
        let all = 2 * self.scenario.transfers as usize;
        let postings = self.postings();
        if count(&postings, |_| true) < all {
            return false;
        }
        let balances = self.seen(topology::BALANCES);
        let postings: BTreeSet<&str> = postings.iter().flatten().map(|p| &*p.value).collect();
        let event = |seen: &Seen| {
            let event = seen.value.rsplit(' ').next()?.strip_prefix('P')?;
            event.split('+').next().map(str::to_owned)
        };
        let outputs: BTreeSet<String> = balances.iter().flatten().filter_map(event).collect();
        let timers_set = count(&balances, |v| v.contains('+'));
        let timers_fired = count(&balances, |v| v.contains('T'));
        postings.len() >= all
            && outputs.len() >= all
            // At least once, also timers may be set twice.
            && (timers_set == timers_fired || self.scenario.guarantee == Guarantee::AtLeastOnce)
            && self.cluster.open_transactions().is_empty()
    }

    pub(crate) fn seen(&self, topic: &str) -> Vec<Vec<Seen>> {
        let partitions = self.cluster.committed_records(topic);
        partitions
            .iter()
            .map(|records| {
                records.iter().map(|r| Seen { key: text(&r.key), value: text(&r.value) }).collect()
            })
            .collect()
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
        let balances = self.seen(topology::BALANCES);
        format!(
            "fed {}, postings {}, outputs {}, timers set {} fired {}, {:?}, open transactions {:?}",
            self.fed,
            count(&self.postings(), |_| true),
            count(&balances, |v| v.contains('P')),
            count(&balances, |v| v.contains('+')),
            count(&balances, |v| v.contains('T')),
            instances.collect::<Vec<_>>(),
            self.cluster.open_transactions()
        )
    }

    pub(crate) fn finish(mut self) -> Report {
        self.watch_postings();
        for instance in std::mem::take(&mut self.instances) {
            self.note_counters(&instance);
        }
        self.report.verdict = oracle::check(
            self.scenario.transfers,
            &self.postings(),
            &self.seen(topology::BALANCES),
        );
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
        self.report.virtual_time = self.cluster.now().mono;
        self.report
    }
}

/// A key or a value; null is an empty text.
pub(crate) fn text(bytes: &Option<Vec<u8>>) -> String {
    String::from_utf8(bytes.clone().unwrap_or_default()).unwrap()
}

fn count(partitions: &[Vec<Seen>], matches: impl Fn(&str) -> bool) -> usize {
    partitions.iter().flatten().filter(|seen| matches(&seen.value)).count()
}
