//! Cuts what was declared into subtopologies: what is connected without a topic in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    dsl::declaration::{Installer, Kind, Node},
    operators::{Chain, OperatorChain, Wiring},
    topology::{
        SinkNode, SourceNode, Step, Subtopology, Topology, TopologyError, declare_watermarks,
    },
};

/// The topology named `name` of these nodes.
pub(super) fn cut(name: &str, nodes: &[Node]) -> Result<Topology, TopologyError> {
    if !nodes.iter().any(|node| matches!(node.kind, Kind::Source { .. })) {
        return Err(TopologyError::NoSource);
    }
    check_used(nodes)?;
    let part_of = parts(nodes);
    let order = order(nodes, &part_of)?;
    let stateful_inputs = above_state(nodes);
    let mut taken = BTreeSet::new();
    let mut subtopologies = Vec::with_capacity(order.len());
    for part in order {
        let members: Vec<usize> =
            (0..nodes.len()).filter(|id| part_of.get(*id) == Some(&part)).collect();
        let name = unique(&part_name(nodes, &members), &mut taken);
        subtopologies.push(subtopology(name, nodes, &members, &stateful_inputs)?);
    }
    declare_watermarks(&mut subtopologies);
    Ok(Topology { name: name.into(), subtopologies })
}

/// Every stream must lead to a sink, a state or a side effect.
fn check_used(nodes: &[Node]) -> Result<(), TopologyError> {
    let parents: BTreeSet<usize> =
        nodes.iter().flat_map(|node| node.parents.iter().map(|port| port.node)).collect();
    let unused = nodes.iter().enumerate().filter(|(id, node)| {
        matches!(node.kind, Kind::Source { .. } | Kind::Operator) && !parents.contains(id)
    });
    let unused = unused.map(|(_, node)| TopologyError::Unused {
        step: node.uid.as_ref().into(),
        operator: node.operator.into(),
    });
    TopologyError::collect(unused.collect())
}

/// For each node the smallest number of a node that it is connected with.
fn parts(nodes: &[Node]) -> Vec<usize> {
    let mut part_of: Vec<usize> = (0..nodes.len()).collect();
    for (id, node) in nodes.iter().enumerate() {
        for parent in &node.parents {
            let pair = (part_of.get(id).copied(), part_of.get(parent.node).copied());
            let (Some(one), Some(two)) = pair else { continue };
            let (keep, lose) = (one.min(two), one.max(two));
            part_of.iter_mut().filter(|part| **part == lose).for_each(|part| *part = keep);
        }
    }
    part_of
}

/// The parts such that each comes after those that write what it reads; else in the order of
/// declaration.
fn order(nodes: &[Node], part_of: &[usize]) -> Result<Vec<usize>, TopologyError> {
    let mut edges = BTreeMap::new();
    for (id, node) in nodes.iter().enumerate() {
        let Kind::Source { written_by: Some(sink), .. } = &node.kind else { continue };
        if let (Some(&reader), Some(&writer)) = (part_of.get(id), part_of.get(*sink)) {
            edges.insert((writer, reader), &node.uid);
        }
    }
    let mut waiting: BTreeSet<usize> = part_of.iter().copied().collect();
    let mut order = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let free = |part: &usize| {
            !edges.keys().any(|(writer, reader)| reader == part && waiting.contains(writer))
        };
        let Some(next) = waiting.iter().copied().find(free) else {
            let within = |(writer, reader): &(usize, usize)| {
                waiting.contains(writer) && waiting.contains(reader)
            };
            let step = edges.iter().find(|(edge, _)| within(edge));
            let step = step.map_or_else(String::new, |(_, uid)| uid.as_ref().into());
            return Err(TopologyError::Cycle { step });
        };
        waiting.remove(&next);
        order.push(next);
    }
    Ok(order)
}

/// The nodes from which a state store can be reached.
fn above_state(nodes: &[Node]) -> BTreeSet<usize> {
    let mut above = BTreeSet::new();
    // Parents are declared before their children.
    for (id, node) in nodes.iter().enumerate().rev() {
        if above.contains(&id) || !node.stores.is_empty() {
            above.extend(node.parents.iter().map(|port| port.node));
        }
    }
    above
}

/// The first declared name, else that of the first source as far as a name can hold it.
fn part_name(nodes: &[Node], members: &[usize]) -> String {
    let members = || members.iter().filter_map(|id| nodes.get(*id));
    if let Some(named) = members().find(|node| node.named) {
        return named.uid.as_ref().into();
    }
    let source = members().next().map_or("", |node| &node.uid);
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    source.chars().map(legal).take(100).collect()
}

fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut ordinal = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}-{ordinal}");
        ordinal += 1;
    }
    candidate
}

/// One subtopology of these nodes.
fn subtopology(
    name: String,
    nodes: &[Node],
    members: &[usize],
    above_state: &BTreeSet<usize>,
) -> Result<Subtopology, TopologyError> {
    let mut part = Subtopology {
        name,
        sources: Vec::new(),
        sinks: Vec::new(),
        stores: Vec::new(),
        steps: Vec::new(),
        chain: Arc::new(|| Box::new(Wiring::default().finish())),
    };
    let mut plan = Plan::default();
    for &id in members {
        let Some(node) = nodes.get(id) else { continue };
        plan.installers.push((id, Arc::clone(&node.install)));
        let uid = String::from(&*node.uid);
        match &node.kind {
            Kind::Source { topic, start, watermarks, .. } => {
                plan.sources.insert(id, part.sources.len());
                let (topic, keyed) = (topic.clone(), above_state.contains(&id));
                let (start, watermarks) = (*start, *watermarks);
                part.sources.push(SourceNode { name: uid, topic, start, keyed, watermarks });
                continue;
            }
            Kind::Sink { topic, on_error } => {
                plan.sinks.insert(id, part.sinks.len());
                let (name, topic) = (uid.clone(), topic.clone());
                part.sinks.push(SinkNode { name, topic, on_error: *on_error });
            }
            Kind::Operator | Kind::Effect => {}
        }
        part.stores.extend(node.stores.iter().cloned());
        let parents = node.parents.iter().filter_map(|port| nodes.get(port.node));
        let inputs = parents.map(|parent| String::from(&*parent.uid)).collect();
        part.steps.push(Step { name: uid, operator: node.operator.into(), inputs });
    }
    // Wired once here, so that a fault shows when the topology is built and not when it runs.
    if let Some(reason) = plan.wire().broken() {
        let (subtopology, reason) = (part.name, reason.into());
        return Err(TopologyError::Malformed { subtopology, reason });
    }
    part.chain = Arc::new(move || Box::new(plan.wire()) as Box<dyn OperatorChain>);
    Ok(part)
}

/// How the chain of a task is made.
#[derive(Default)]
struct Plan {
    sources: BTreeMap<usize, usize>,
    sinks: BTreeMap<usize, usize>,
    installers: Vec<(usize, Installer)>,
}

impl Plan {
    fn wire(&self) -> Chain {
        let mut wiring = Wiring::new(self.sources.clone(), self.sinks.clone());
        for (node, install) in self.installers.iter().rev() {
            install(&mut wiring, *node);
        }
        wiring.finish()
    }
}
