//! What commands ask of a cluster beside topics: a group's members and offsets, and deletions.

use crate::{
    record::TopicName,
    runtime::{TopicAdmin, TopicsError},
};

/// Inspects and removes what an application has in a cluster. Blocks; used by commands only.
pub trait ApplicationAdmin: TopicAdmin {
    /// The members of a consumer group, each in a few words (instance id, host); empty for a
    /// group without members, `None` where there is no such group.
    fn group_members(&mut self, group: &str) -> Result<Option<Vec<String>>, TopicsError>;

    /// Deletes a group without members, with its offsets; one that does not exist is no error.
    fn delete_group(&mut self, group: &str) -> Result<(), TopicsError>;

    /// Deletes topics; one that does not exist is no error.
    fn delete_topics(&mut self, topics: &[TopicName]) -> Result<(), TopicsError>;
}
