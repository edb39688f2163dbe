//! The group: joining, sharing, giving back, leaving, coming back, a twin.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tidemill::{
    kafka::KafkaTopicAdmin,
    record::TopicPartition,
    runtime::{ApplicationAdmin, Event, FatalCause, Log, Request},
};

use crate::support::{Client, PATIENCE, settings, texts, topic, unique, write_committed};

/// A member that releases what it is asked for, as a stream thread does.
struct Member {
    client: Client,
    owned: BTreeSet<TopicPartition>,
    assignments: usize,
    left: bool,
}

impl Member {
    fn join(app: &str, instance: &str, topic: &tidemill::record::TopicName) -> Self {
        let mut client = Client::new(app, instance);
        client.log.submit(Request::Join { topics: vec![topic.clone()] });
        Self { client, owned: BTreeSet::new(), assignments: 0, left: false }
    }

    fn step(&mut self) {
        match self.client.next(Duration::from_millis(5), false) {
            None => {}
            Some(Event::Assigned { partitions }) => {
                self.assignments += 1;
                self.owned.extend(partitions.iter().cloned());
                self.client.log.submit(Request::Accept { partitions });
            }
            Some(Event::Revoking { partitions } | Event::Lost { partitions }) => {
                for partition in &partitions {
                    assert!(self.owned.remove(partition), "{partition} was not ours");
                }
                self.client.log.submit(Request::Release { partitions });
            }
            Some(Event::Left) => self.left = true,
            Some(other) => panic!("{other:?}"),
        }
    }
}

fn until(members: &mut [&mut Member], what: &str, done: impl Fn(&[&mut Member]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(members) {
        assert!(
            Instant::now() < deadline,
            "not {what} within {PATIENCE:?}: {:?}",
            members.iter().map(|m| m.owned.len()).collect::<Vec<_>>()
        );
        for member in members.iter_mut() {
            member.step();
        }
        let mut all = BTreeSet::new();
        for partition in members.iter().flat_map(|member| &member.owned) {
            assert!(all.insert(partition.clone()), "{partition} is owned twice");
        }
    }
}

fn group_members(app: &str) -> Option<Vec<String>> {
    KafkaTopicAdmin::new(&settings()).unwrap().group_members(app).unwrap()
}

#[test]
fn two_members_share_without_owning_anything_twice_and_leaving_gives_back() {
    let (topic, app) = (topic("share", 4), unique("app"));
    let mut one = Member::join(&app, "one", &topic);
    until(&mut [&mut one], "all with one", |m| m[0].owned.len() == 4);
    let generation = one.client.log.group().unwrap().generation();
    let mut two = Member::join(&app, "two", &topic);
    until(&mut [&mut one, &mut two], "shared", |m| m.iter().all(|m| m.owned.len() == 2));
    assert!(one.client.log.group().unwrap().generation() > generation);
    let described = group_members(&app).unwrap();
    assert_eq!(described.len(), 2, "{described:?}");
    assert!(described.iter().any(|m| m.starts_with("one.0 (")), "{described:?}");

    // A static member that leaves is gone at once, not after its session.
    let started = Instant::now();
    two.client.log.submit(Request::Leave);
    until(&mut [&mut one, &mut two], "left", |m| m[1].left);
    assert!(two.owned.is_empty());
    assert_eq!(two.client.log.group(), None);
    until(&mut [&mut one], "all back", |m| m[0].owned.len() == 4);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(group_members(&app).unwrap().len(), 1);
}

#[test]
fn more_members_than_partitions_get_an_empty_assignment() {
    let (topic, app) = (topic("empty", 1), unique("app"));
    let mut one = Member::join(&app, "one", &topic);
    until(&mut [&mut one], "assigned", |m| m[0].owned.len() == 1);
    let mut two = Member::join(&app, "two", &topic);
    until(&mut [&mut one, &mut two], "told of nothing", |m| m[1].assignments > 0);
    assert!(two.client.log.group().is_some());
    assert_eq!((one.owned.len(), two.owned.len()), (1, 0));
    // An idle member leaves too.
    two.client.log.submit(Request::Leave);
    until(&mut [&mut one, &mut two], "left", |m| m[1].left);
}

#[test]
fn a_dropped_log_keeps_its_static_membership_and_comes_back_without_a_rebalance() {
    let (topic, app) = (topic("static", 2), unique("app"));
    write_committed(&topic, 0, &["a", "b"]);
    let mut one = Member::join(&app, "one", &topic);
    let mut two = Member::join(&app, "two", &topic);
    until(&mut [&mut one, &mut two], "shared", |m| m.iter().all(|m| m.owned.len() == 1));
    let owned = one.owned.clone();
    let generation = two.client.log.group().unwrap().generation();
    drop(one);
    assert_eq!(group_members(&app).unwrap().len(), 2, "the place is kept");
    let mut back = Member::join(&app, "one", &topic);
    until(&mut [&mut back, &mut two], "back", |m| m[0].owned.len() == 1);
    assert_eq!(back.owned, owned);
    assert_eq!(two.client.log.group().unwrap().generation(), generation, "two was undisturbed");
    let partition = TopicPartition::new(&*topic, 0);
    let reader = if back.owned.contains(&partition) { &mut back } else { &mut two };
    reader.client.read(&partition, 1);
    assert_eq!(texts(&reader.client.collect(|found| !found.is_empty())), ["b"]);
}

#[test]
fn a_twin_makes_the_older_member_fail_for_good() {
    let (topic, app) = (topic("twin", 1), unique("app"));
    let mut one = Member::join(&app, "same", &topic);
    until(&mut [&mut one], "assigned", |m| m[0].owned.len() == 1);
    let mut twin = Member::join(&app, "same", &topic);
    until(&mut [&mut twin], "assigned", |m| m[0].owned.len() == 1);
    let cause = one.client.until("fatal", |event| match event {
        Event::Fatal(cause) => Some(cause),
        _ => None,
    });
    assert!(matches!(&cause, FatalCause::FencedInstanceId(_)), "{cause:?}");
    assert_eq!(one.client.log.group(), None, "nothing may be committed with it (EOS-3)");
}

#[test]
fn a_member_that_stays_away_too_long_loses_its_partitions_and_may_come_back() {
    let (topic, app) = (topic("away", 1), unique("app"));
    let mut connection = crate::support::connection(&app, "one");
    connection.settings.max_poll_interval = Duration::from_secs(6);
    let mut client = Client::with(&connection);
    client.join_and_own(&topic, 1);
    let away = Instant::now() + Duration::from_millis(7_500);
    // Away: nothing is polled. A channel that nobody writes to is a wait without a sleep.
    let (_keep, silence) = std::sync::mpsc::channel::<()>();
    let _timeout = silence.recv_timeout(away - Instant::now());
    assert!(client.log.group().is_none(), "{:?}", client.log.group());
    let lost = client.until("lost", |event| match event {
        Event::Lost { partitions } | Event::Revoking { partitions } => Some(partitions),
        _ => None,
    });
    assert_eq!(lost, [TopicPartition::new(&*topic, 0)]);
    client.log.submit(Request::Release { partitions: lost });
    let again = client.until("assigned again", |event| match event {
        Event::Assigned { partitions } if !partitions.is_empty() => Some(partitions),
        _ => None,
    });
    assert_eq!(again, [TopicPartition::new(&*topic, 0)]);
    assert!(client.log.group().is_some());
}

#[test]
fn a_rejoin_makes_the_group_rebalance_and_everybody_keeps_what_they_have() {
    let (topic, app) = (topic("rejoin", 2), unique("app"));
    let mut one = Member::join(&app, "one", &topic);
    let mut two = Member::join(&app, "two", &topic);
    until(&mut [&mut one, &mut two], "shared", |m| m.iter().all(|m| m.owned.len() == 1));
    let generation = one.client.log.group().unwrap().generation();
    one.client.log.submit(Request::Rejoin);
    until(&mut [&mut one, &mut two], "rebalanced", |m| {
        m.iter().all(|member| {
            member.owned.len() == 1
                && member.client.log.group().is_some_and(|g| g.generation() > generation)
        })
    });
    // The second member may have to join again: then the group says so, and settles.
    let deadline = Instant::now() + PATIENCE;
    let described = loop {
        one.client.log.submit(Request::DescribeGroup { id: 3 });
        let described = loop {
            two.step();
            match one.client.next(Duration::from_millis(5), false) {
                Some(Event::GroupDescribed { id: 3, result }) => break result.unwrap(),
                Some(Event::Assigned { partitions }) => {
                    one.client.log.submit(Request::Accept { partitions });
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        };
        if let Some(members) = described {
            break members;
        }
        assert!(Instant::now() < deadline, "the group never settles");
    };
    let names: BTreeSet<_> =
        described.into_iter().map(|member| member.instance_id.unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["one.0".to_owned(), "two.0".to_owned()]));
}

#[test]
fn a_log_that_is_dropped_in_the_middle_of_a_rebalance_ends_at_once() {
    let topic = topic("drop", 2);
    for round in 0..6 {
        // A group of its own: the second round of this handover never comes.
        let app = unique("app");
        let mut one = Member::join(&app, "one", &topic);
        until(&mut [&mut one], "assigned", |m| m[0].owned.len() == 2);
        let mut two = Member::join(&app, "two", &topic);
        // One is asked to give back, and never answers: it is dropped.
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "never asked in round {round}");
            two.step();
            if let Some(Event::Revoking { .. }) = one.client.next(Duration::from_millis(5), false) {
                break;
            }
        }
        let started = Instant::now();
        drop(one);
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        two.client.log.submit(Request::Leave);
        until(&mut [&mut two], "left", |m| m[0].left);
    }
}
