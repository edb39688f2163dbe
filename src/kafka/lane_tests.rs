//! The lane's order and its watchdog, without a broker: the transaction thread is played by hand.

use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::{
    kafka::{Settings, properties, transaction_thread::Answer},
    record::{Offset, TopicPartition},
    runtime::mutants::Mutant,
};

type Events = VecDeque<Event<std::convert::Infallible>>;

struct Stage {
    lane: LaneProducer,
    commands: Receiver<Command>,
    events: Events,
}

const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A lane whose thread is the test.
fn stage() -> Stage {
    let connection = ConnectionSettings {
        settings: Settings {
            call_timeout: CALL_TIMEOUT,
            transaction_timeout: Some(Duration::from_secs(6)),
            socket_timeout: Duration::from_secs(3),
            ..Settings::default()
        },
        application: "app".to_owned(),
        instance: "i".to_owned(),
        thread: 0,
        epoch_interval: Duration::from_millis(100),
        mutant: Mutant::None,
    };
    let wake = Arc::new(Wake::new().unwrap());
    let (answers, _) = channel();
    let mut lane = LaneProducer::new(Lane::A, connection, wake, answers);
    let (thread, commands) = channel();
    lane.thread = Some(thread);
    lane.incarnation = 1;
    Stage { lane, commands, events: Events::new() }
}

impl Stage {
    fn work(&mut self, seconds: u64) {
        self.lane.work(Duration::from_secs(seconds), &mut self.events);
        self.lane.watch(Duration::from_secs(seconds), &mut self.events);
    }

    fn answer(&mut self, incarnation: u64, outcome: Outcome) {
        let answer = Answer { lane: Lane::A, incarnation, outcome };
        self.lane.answered(answer, Duration::ZERO, &mut self.events);
    }

    /// The lane as it is after an `Open` that never came back.
    fn given_up() -> Self {
        let mut stage = stage();
        stage.lane.open();
        stage.work(0);
        assert!(matches!(stage.commands.try_recv(), Ok(Command::Open { old: None })));
        stage.work(5);
        stage.work(7);
        stage
    }
}

fn produce(lane: &mut LaneProducer) -> Result<(), QueueFull> {
    let topic = "t".into();
    let record = OutputRecord {
        topic: &topic,
        partition: 0,
        timestamp: None,
        key: None,
        value: None,
        headers: &[],
    };
    lane.produce(&record, 0)
}

#[test]
fn a_call_that_exceeds_its_time_is_given_up_and_its_outcome_is_unknown() {
    let mut stage = stage();
    stage.lane.open();
    stage.work(0);
    assert_eq!(stage.lane.deadline(), Some(CALL_TIMEOUT));
    stage.work(4);
    assert!(stage.events.is_empty());
    // The deadline passes: an answer may be on its way still, a moment later it may not.
    stage.work(5);
    assert!(stage.events.is_empty());
    stage.work(6);
    let Some(Event::Opened { result: Err(TransactionFailure::Abandoned(reason)), .. }) =
        stage.events.pop_front()
    else {
        panic!("{:?}", stage.events);
    };
    assert_eq!(reason, "watchdog: no answer to init_transactions of lane a within 5s");
    assert_eq!(stage.lane.deadline(), None);
    assert!(stage.lane.thread.is_none(), "the next call gets a thread of its own");
}

#[test]
fn a_late_answer_of_an_abandoned_thread_is_discarded() {
    let mut stage = Stage::given_up();
    stage.events.clear();
    stage.answer(1, Outcome::Committed(Ok(())));
    assert!(stage.events.is_empty());
    assert!(stage.lane.failed.is_some());
}

#[test]
fn every_outcome_of_a_useless_lane_says_why_until_it_is_opened_again() {
    let mut stage = Stage::given_up();
    stage.events.clear();
    stage.lane.begin();
    assert_eq!(produce(&mut stage.lane), Err(QueueFull), "not begun yet");
    stage.work(8);
    assert_eq!(produce(&mut stage.lane), Ok(()), "dropped: the next outcome tells");
    stage.lane.flush();
    stage.lane.send_offsets(
        vec![OffsetCommit {
            partition: TopicPartition::new("t", 0),
            offset: Offset(1),
            metadata: String::new(),
        }],
        GroupMetadata::new(1, "m".to_owned()).unwrap(),
    );
    stage.lane.commit();
    stage.lane.abort();
    stage.work(8);
    let reasons: Vec<String> = stage
        .events
        .iter()
        .map(|event| match event {
            Event::Flushed { result: Err(failure), .. }
            | Event::OffsetsSent { result: Err(failure), .. }
            | Event::Committed { result: Err(failure), .. }
            | Event::Aborted { result: Err(failure), .. } => failure.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons.len(), 4);
    assert!(reasons.iter().all(|r| r.starts_with("abandoned: watchdog")), "{reasons:?}");
}

#[test]
fn calls_go_out_one_at_a_time_and_in_order() {
    let mut stage = stage();
    stage.lane.open();
    stage.lane.begin();
    stage.lane.commit();
    stage.work(0);
    assert!(matches!(stage.commands.try_recv(), Ok(Command::Open { .. })));
    assert!(stage.commands.try_recv().is_err(), "the rest waits for the answer");
    let fenced = TransactionFailure::Fenced("_FENCED: x".to_owned());
    stage.answer(1, Outcome::Opened(Err(fenced.clone())));
    // What waited has its answer in the same order, and nothing was sent with a dead producer.
    assert!(matches!(&stage.events[0], Event::Opened { result: Err(f), .. } if *f == fenced));
    assert!(matches!(&stage.events[1], Event::Committed { result: Err(f), .. } if *f == fenced));
    assert!(stage.commands.try_recv().is_err());
}

#[test]
fn a_disturbed_producer_is_replaced_before_it_begins_again_but_by_its_mutant() {
    for mutant in [Mutant::None, Mutant::KeepsDisturbedProducer] {
        let mut stage = stage();
        stage.lane.connection.mutant = mutant;
        (stage.lane.failed, stage.lane.disturbed) = (None, true);
        stage.lane.begin();
        stage.work(0);
        let replaces = matches!(stage.commands.try_recv(), Ok(Command::Open { .. }));
        assert_eq!(replaces, !mutant.is(Mutant::KeepsDisturbedProducer), "{mutant:?}");
    }
}

#[test]
fn offsets_are_given_up_after_half_the_transaction_s_time_and_their_thread_gets_the_producer() {
    let mut stage = stage();
    stage.lane.open();
    stage.work(0);
    assert!(matches!(stage.commands.try_recv(), Ok(Command::Open { .. })));
    let config = properties::producer(&stage.lane.connection, Lane::A).unwrap();
    let producer = Arc::new(Producer::new(config, &stage.lane.wake).unwrap());
    stage.answer(1, Outcome::Opened(Ok(producer)));
    stage.events.clear();
    let offset = OffsetCommit {
        partition: TopicPartition::new("t", 0),
        offset: Offset(1),
        metadata: String::new(),
    };
    stage.lane.send_offsets(vec![offset], GroupMetadata::new(1, "m".to_owned()).unwrap());
    stage.work(0);
    let hanging = stage.commands.try_recv();
    assert!(matches!(hanging, Ok(Command::SendOffsets { .. })));
    assert_eq!(stage.lane.deadline(), Some(Duration::from_secs(3)));
    stage.work(3);
    stage.work(4);
    let Some(Event::OffsetsSent { result: Err(TransactionFailure::Abandoned(reason)), .. }) =
        stage.events.pop_front()
    else {
        panic!("{:?}", stage.events);
    };
    let call = "send_offsets_to_transaction";
    assert_eq!(reason, format!("watchdog: no answer to {call} of lane a within 3s"));
    // Should the call return after all, nothing of the producer is left behind.
    drop(hanging);
    let Ok(Command::Dispose(producer)) = stage.commands.try_recv() else { panic!("leaked") };
    assert_eq!(Arc::strong_count(&producer), 1);
}
