//! The topics of a topology in a simulated cluster.

use std::collections::BTreeMap;

use tidemill::{
    record::TopicName,
    runtime::{TopicAdmin, TopicInfo, TopicSpec},
    testing::SimCluster,
    topology::{Topology, plan_topics},
};

/// Makes a topology's own topics of so many partitions, and its internal ones; as described then.
pub(crate) fn make_topics(
    cluster: &SimCluster,
    topology: &Topology,
    application: &str,
    external: [(String, i32); 2],
) -> BTreeMap<TopicName, TopicInfo> {
    let topic = |name: &str, partitions, config| TopicSpec {
        name: name.into(),
        partitions,
        replication: 1,
        config,
    };
    let mut specs: Vec<TopicSpec> =
        external.iter().map(|(name, count)| topic(name, *count, BTreeMap::new())).collect();
    let planned = plan_topics(topology, application, &external.into_iter().collect(), 1).unwrap();
    specs.extend(planned.internal.iter().map(|t| topic(&t.name, t.partitions, t.config.clone())));
    let mut admin = cluster.admin();
    admin.create(&specs).unwrap();
    let names: Vec<TopicName> = specs.iter().map(|spec| spec.name.clone()).collect();
    let infos = admin.describe(&names).unwrap();
    infos.into_iter().flatten().map(|info| (info.name.clone(), info)).collect()
}
