//! Which request suffers what: rules, a seed, and a counter per API and fault. Pure.

use std::{collections::BTreeMap, fmt};

use super::{api::Api, fault::Fault, frame::Head};

/// Requests that a fault is aimed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Only these; empty: all but ApiVersions, without which no client says anything else.
    pub apis: Vec<Api>,
    /// Only of clients whose id contains this.
    pub client: String,
    /// What happens to them.
    pub fault: Fault,
    /// How many matching requests pass by first.
    pub skip: u64,
    /// How many suffer it, then the rule is spent.
    pub times: u64,
    /// Out of a thousand that match, so many suffer it.
    pub permille: u32,
}

impl Rule {
    /// The next request of `api`, of clients whose id contains `client`.
    pub fn once(api: Api, client: &str, fault: Fault) -> Self {
        let client = client.to_owned();
        Self { apis: vec![api], client, fault, skip: 0, times: 1, permille: 1000 }
    }

    fn matches(&self, api: Api, client: &str) -> bool {
        let aimed =
            if self.apis.is_empty() { api != Api::API_VERSIONS } else { self.apis.contains(&api) };
        aimed && client.contains(&self.client)
    }
}

/// How often each fault was carried out, by API and the fault's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests seen.
    pub requests: BTreeMap<Api, u64>,
    /// Faults carried out.
    pub faults: BTreeMap<(Api, &'static str), u64>,
}

impl Counts {
    /// Faults of all kinds.
    pub fn total(&self) -> u64 {
        self.faults.values().sum()
    }
}

/// One line per API that suffered something: `end-txn: drop-answer=2 hold=1 of 340`.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = None;
        for ((api, fault), count) in &self.faults {
            if line != Some(*api) {
                if let Some(before) = line {
                    writeln!(f, " of {}", self.requests.get(&before).copied().unwrap_or(0))?;
                }
                write!(f, "{api}:")?;
                line = Some(*api);
            }
            write!(f, " {fault}={count}")?;
        }
        match line {
            Some(last) => write!(f, " of {}", self.requests.get(&last).copied().unwrap_or(0)),
            None => f.write_str("no faults"),
        }
    }
}

/// The rules that hold now, and what they have come to.
#[derive(Debug)]
pub(super) struct Schedule {
    random: fastrand::Rng,
    rules: Vec<Rule>,
    counts: Counts,
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            rules: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Faults that rules may still make; rules with a chance below certainty are not waited for.
    pub(super) fn outstanding(&self) -> u64 {
        self.rules.iter().filter(|rule| rule.permille >= 1000).map(|rule| rule.times).sum()
    }

    /// What happens to a request; the first rule that matches decides.
    pub(super) fn decide(&mut self, head: &Head) -> Option<Fault> {
        let api = Api(head.api);
        *self.counts.requests.entry(api).or_default() += 1;
        let random = &mut self.random;
        let struck = self.rules.iter_mut().find_map(|rule| {
            if !rule.matches(api, &head.client) || rule.times == 0 {
                return None;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                return None;
            }
            if rule.permille < 1000 && random.u32(..1000) >= rule.permille {
                return None;
            }
            rule.times -= 1;
            Some(rule.fault)
        });
        self.rules.retain(|rule| rule.times > 0);
        struck
    }

    /// A fault was carried out.
    pub(super) fn count(&mut self, api: i16, fault: &'static str) {
        *self.counts.faults.entry((Api(api), fault)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(api: Api, client: &str) -> Head {
        Head { api: api.0, version: 1, correlation: 1, client: client.to_owned() }
    }

    #[test]
    fn a_rule_for_one_request_strikes_once_and_only_what_it_is_aimed_at() {
        let mut schedule = Schedule::new(1);
        schedule.add(Rule { skip: 1, ..Rule::once(Api::END_TXN, ".i1.", Fault::DropAnswer) });
        assert_eq!(schedule.decide(&head(Api::PRODUCE, "a.i1.0.producer.a")), None);
        assert_eq!(schedule.decide(&head(Api::END_TXN, "a.i0.0.producer.a")), None);
        assert_eq!(schedule.decide(&head(Api::END_TXN, "a.i1.0.producer.a")), None, "skipped");
        assert_eq!(schedule.outstanding(), 1);
        let struck = schedule.decide(&head(Api::END_TXN, "a.i1.0.producer.b"));
        assert_eq!(struck, Some(Fault::DropAnswer));
        assert_eq!(schedule.outstanding(), 0);
        assert_eq!(schedule.decide(&head(Api::END_TXN, "a.i1.0.producer.a")), None);
        assert_eq!(schedule.counts().requests[&Api::END_TXN], 4);
    }

    #[test]
    fn chances_follow_the_seed() {
        let run = |seed| {
            let mut schedule = Schedule::new(seed);
            let times = u64::MAX;
            let any = Rule { apis: vec![], permille: 100, times, ..whole(Fault::DropRequest) };
            schedule.add(any);
            let struck = |_| schedule.decide(&head(Api::FETCH, "x")).is_some();
            (0..1000).map(struck).collect::<Vec<bool>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
        let hits = run(3).iter().filter(|hit| **hit).count();
        assert!((60..140).contains(&hits), "{hits} of 1000 at 100 permille");
    }

    fn whole(fault: Fault) -> Rule {
        Rule::once(Api::FETCH, "", fault)
    }

    #[test]
    fn api_versions_are_spared_unless_named() {
        let mut schedule = Schedule::new(1);
        schedule.add(Rule { apis: vec![], ..whole(Fault::DropRequest) });
        assert_eq!(schedule.decide(&head(Api::API_VERSIONS, "x")), None);
        schedule.add(Rule::once(Api::API_VERSIONS, "", Fault::ResetAnswer));
        assert_eq!(schedule.decide(&head(Api::API_VERSIONS, "x")), Some(Fault::ResetAnswer));
    }

    #[test]
    fn counts_are_a_line_per_api() {
        let mut schedule = Schedule::new(1);
        assert_eq!(schedule.counts().to_string(), "no faults");
        schedule.decide(&head(Api::END_TXN, ""));
        schedule.count(Api::END_TXN.0, "hold");
        schedule.count(Api::END_TXN.0, "delay");
        schedule.count(Api::FETCH.0, "delay");
        schedule.count(Api::FETCH.0, "delay");
        let text = schedule.counts().to_string();
        assert_eq!(text, "fetch: delay=2 of 0\nend-txn: delay=1 hold=1 of 1");
        assert_eq!(schedule.counts().total(), 4);
    }
}
