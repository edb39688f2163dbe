//! Topics that change under a running application: counts, ids, deletion.

use crate::{
    record::TopicName,
    runtime::{
        Log, Request, RequestId, TopicInfo,
        restore::RestoreService,
        stream_thread::{
            slot::Question,
            thread::{Failure, StreamThread},
        },
    },
};

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// Asks what became of the topics: counts, ids.
    pub(super) fn describe(&mut self) {
        let topics: Vec<TopicName> = self
            .plan
            .subtopologies
            .iter()
            .flat_map(|s| s.sources.iter().map(|source| source.topic.clone()))
            .collect();
        let id = self.ask(Question::Describe(topics.clone()));
        self.log.submit(Request::Describe { id, topics });
    }

    pub(super) fn described(
        &mut self,
        id: RequestId,
        result: Result<Vec<Option<TopicInfo>>, String>,
    ) {
        let Some(Question::Describe(topics)) = self.questions.remove(&id) else { return };
        let Ok(infos) = result else { return };
        for (topic, info) in topics.iter().zip(infos) {
            let sources = self.plan.subtopologies.iter().flat_map(|s| &s.sources);
            let Some(source) = sources.into_iter().find(|s| s.topic == *topic).cloned() else {
                continue;
            };
            match info {
                None => {
                    let message = format!("topic {topic} does not exist any more");
                    return self.fail(Failure::Topics(message));
                }
                Some(info) if info.id != source.topic_id => {
                    return self.fail(Failure::Topics(format!(
                        "topic {topic} was deleted and created again (id {} is now {}); \
                         `tidemill reset` starts over",
                        source.topic_id, info.id
                    )));
                }
                Some(info) if source.keyed && info.partitions != source.partitions => {
                    let failure = partitions_changed(topic, source.partitions, info.partitions);
                    return self.fail(failure);
                }
                Some(_) => {}
            }
        }
    }
}

pub(super) fn partitions_changed(topic: &TopicName, before: i32, now: i32) -> Failure {
    Failure::Topics(format!(
        "topic {topic} had {before} partitions and has {now} now: keyed state would be torn \
         apart; put a repartition step before the state, or `tidemill reset` to start over"
    ))
}
