//! Shows a topology: subtopologies, topics, steps and stores, as text, JSON or Graphviz.

use std::{collections::BTreeSet, fmt::Write};

use serde::Serialize;

use crate::topology::{
    ErrorPolicy, StartFrom, Subtopology, SubtopologyPlan, TopicPlan, TopicRef, Topology,
    changelog_name,
};

/// A topology as it is shown. Serializes to the JSON of `tidemill describe --format json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Description {
    /// The topology.
    pub topology: String,
    /// The application id that topics are named under.
    pub application: String,
    /// Its parts, in order.
    pub subtopologies: Vec<DescribedSubtopology>,
}

/// A subtopology as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DescribedSubtopology {
    /// Its position; for display only.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// How many tasks, where partition counts are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<i32>,
    /// Its inputs.
    pub sources: Vec<DescribedSource>,
    /// Its steps, sinks included, in order.
    pub steps: Vec<DescribedStep>,
    /// Its state stores as `<step>/<state>`.
    pub stores: Vec<String>,
    /// The topic that holds its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changelog: Option<String>,
}

/// An input as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DescribedSource {
    /// Its name.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// The topic's partitions, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Whether Tidemill creates the topic.
    pub internal: bool,
    /// Where it starts.
    pub start: &'static str,
    /// Whether state depends on its partitioning.
    pub keyed: bool,
}

/// A step as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DescribedStep {
    /// Its name.
    pub name: String,
    /// What it does.
    pub operator: String,
    /// What feeds it.
    pub inputs: Vec<String>,
    /// The topic that it writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// What it does with records that the topic would refuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<ErrorPolicy>,
}

/// Describes a topology under an application id; with the plan also partition and task counts.
pub fn describe(topology: &Topology, application: &str, plan: Option<&TopicPlan>) -> Description {
    let parts = topology.subtopologies.iter().enumerate().map(|(ordinal, part)| {
        let plan = plan.and_then(|plan| plan.subtopologies.get(ordinal));
        describe_part(ordinal, part, application, plan)
    });
    Description {
        topology: topology.name.clone(),
        application: application.into(),
        subtopologies: parts.collect(),
    }
}

fn describe_part(
    ordinal: usize,
    part: &Subtopology,
    application: &str,
    plan: Option<&SubtopologyPlan>,
) -> DescribedSubtopology {
    let sources = part.sources.iter().enumerate().map(|(index, source)| DescribedSource {
        name: source.name.clone(),
        topic: source.topic.resolve(application),
        partitions: plan.and_then(|plan| plan.inputs.get(index)).map(|input| input.partitions),
        internal: matches!(source.topic, TopicRef::Repartition { .. }),
        start: match source.start {
            StartFrom::Earliest => "earliest",
            StartFrom::Latest => "latest",
        },
        keyed: source.keyed,
    });
    let steps = part.steps.iter().map(|step| {
        let sink = part.sinks.iter().find(|sink| sink.name == step.name);
        DescribedStep {
            name: step.name.clone(),
            operator: step.operator.clone(),
            inputs: step.inputs.clone(),
            topic: sink.map(|sink| sink.topic.resolve(application)),
            on_error: sink.map(|sink| sink.on_error),
        }
    });
    DescribedSubtopology {
        ordinal,
        name: part.name.clone(),
        tasks: plan.map(|plan| plan.tasks),
        sources: sources.collect(),
        steps: steps.collect(),
        stores: part.stores.iter().map(crate::topology::StoreSpec::qualified).collect(),
        changelog: (!part.stores.is_empty()).then(|| changelog_name(application, &part.name)),
    }
}

impl Description {
    /// For people.
    pub fn text(&self) -> String {
        let mut out = format!("topology {} (application {})\n", self.topology, self.application);
        for part in &self.subtopologies {
            let tasks = part.tasks.map(|tasks| format!(", {tasks} tasks")).unwrap_or_default();
            line(&mut out, format_args!("\nsubtopology {}: {}{tasks}", part.ordinal, part.name));
            for source in &part.sources {
                let partitions = source
                    .partitions
                    .map(|count| format!(", {count} partitions"))
                    .unwrap_or_default();
                let keyed = if source.keyed { ", keyed" } else { "" };
                let (name, topic, start) = (&source.name, &source.topic, source.start);
                line(
                    &mut out,
                    format_args!(
                        "  source {name} <- topic {topic} (from {start}{keyed}{partitions})"
                    ),
                );
            }
            for step in &part.steps {
                let topic = step.topic.as_ref().map(|topic| format!(" -> topic {topic}"));
                let (name, operator, inputs) = (&step.name, &step.operator, step.inputs.join(", "));
                let topic = topic.unwrap_or_default();
                line(&mut out, format_args!("  step {name} ({operator}) <- {inputs}{topic}"));
            }
            for store in &part.stores {
                line(&mut out, format_args!("  store {store}"));
            }
            if let Some(changelog) = &part.changelog {
                line(&mut out, format_args!("  changelog {changelog}"));
            }
        }
        out
    }

    /// For programs.
    pub fn json(&self) -> String {
        // Strings, numbers and lists only: there is nothing that JSON cannot hold.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// For `dot`.
    pub fn graphviz(&self) -> String {
        let mut out = format!("digraph {} {{\n", quoted(&self.topology));
        out.push_str("  rankdir=LR;\n  node [shape=box, style=rounded];\n");
        for part in &self.subtopologies {
            graphviz_part(&mut out, part);
        }
        let mut topics = BTreeSet::new();
        for part in &self.subtopologies {
            topics.extend(part.sources.iter().map(|source| &source.topic));
            topics.extend(part.steps.iter().filter_map(|step| step.topic.as_ref()));
        }
        for topic in topics {
            let (id, label) = (topic_id(topic), quoted(topic));
            line(&mut out, format_args!("  {id} [label={label}, shape=cds, style=solid];"));
        }
        out.push_str("}\n");
        out
    }
}

fn graphviz_part(out: &mut String, part: &DescribedSubtopology) {
    let node = |name: &str| quoted(&format!("{}/{name}", part.name));
    line(out, format_args!("  subgraph {} {{", quoted(&format!("cluster_{}", part.name))));
    line(out, format_args!("    label={};", quoted(&part.name)));
    for source in &part.sources {
        let label = quoted(&format!("{}\nsource", source.name));
        line(out, format_args!("    {} [label={label}];", node(&source.name)));
    }
    for step in &part.steps {
        let label = quoted(&format!("{}\n{}", step.name, step.operator));
        line(out, format_args!("    {} [label={label}];", node(&step.name)));
        for input in &step.inputs {
            line(out, format_args!("    {} -> {};", node(input), node(&step.name)));
        }
    }
    for store in &part.stores {
        let id = node(&format!("store {store}"));
        let step = store.split('/').next().unwrap_or_default();
        line(out, format_args!("    {id} [label={}, shape=cylinder];", quoted(store)));
        line(out, format_args!("    {} -> {id} [dir=both, style=dashed];", node(step)));
    }
    line(out, format_args!("  }}"));
    for source in &part.sources {
        line(out, format_args!("  {} -> {};", topic_id(&source.topic), node(&source.name)));
    }
    for (step, topic) in part.steps.iter().filter_map(|step| Some((step, step.topic.as_ref()?))) {
        line(out, format_args!("  {} -> {};", node(&step.name), topic_id(topic)));
    }
}

/// A topic's node: one for the whole graph.
fn topic_id(topic: &str) -> String {
    quoted(&format!("topic {topic}"))
}

fn line(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _written = writeln!(out, "{line}");
}

/// A Graphviz string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
