//! `reset`: deletes an application's offsets, internal topics and local state.
//!
//! Says what would go before anything goes, and refuses while the application runs. User topics
//! are never touched. It can be repeated: what is gone already is passed over.

use std::{fs, io::Write, path::PathBuf};

use crate::{
    cli::{arguments::ResetArguments, cluster::described, entry::Context},
    error::{Error, ErrorKind},
    record::TopicName,
    runtime::ApplicationAdmin,
    state::StateDirectory,
    topology::{TopicRef, Topology, changelog_name},
};

/// What would go.
struct Remains {
    topics: Vec<TopicName>,
    group: bool,
    directory: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn reset(
    arguments: &ResetArguments,
    context: &Context<'_>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let settings = context.settings(&arguments.settings)?;
    let topology = context.catalog.find(arguments.topology.as_deref())?;
    let application = settings.application_id(&topology.name);
    let mut admin = context.engine.admin(&settings)?;
    let remains = remains(&mut *admin, &topology, application, &settings.state.dir)?;
    // Held until the end: no process of this machine can start on the state meanwhile.
    let lock = match &remains.directory {
        Some(_) => Some(StateDirectory::open(&settings.state.dir, application, "reset")?),
        None => None,
    };
    show(&remains, application, arguments.yes, out)?;
    if arguments.dry_run || remains.is_empty() {
        return Ok(());
    }
    if !arguments.yes {
        let message = "nothing is deleted without --yes";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    // Whatever is left by a crash in between is refused at the next start and can be reset again:
    // offsets without a changelog, or local state without either, are never served.
    admin.delete_topics(&remains.topics)?;
    if remains.group {
        admin.delete_group(application)?;
    }
    if let Some(directory) = &remains.directory {
        fs::remove_dir_all(directory)?;
    }
    drop(lock);
    writeln!(out, "application {application} is reset")?;
    Ok(())
}

impl Remains {
    fn is_empty(&self) -> bool {
        self.topics.is_empty() && !self.group && self.directory.is_none()
    }
}

fn remains(
    admin: &mut dyn ApplicationAdmin,
    topology: &Topology,
    application: &str,
    state: &std::path::Path,
) -> Result<Remains, Error> {
    let members = admin.group_members(application)?;
    if let Some(members) = members.as_ref().filter(|members| !members.is_empty()) {
        let message = format!(
            "application {application} runs: its group has the members {}; stop them first (a \
             member that was killed goes with its session timeout)",
            members.join(", ")
        );
        return Err(Error::new(ErrorKind::InUse, message));
    }
    let topics: Vec<TopicName> = internal(topology, application).map(TopicName::from).collect();
    let directory = state.join(application);
    Ok(Remains {
        topics: described(admin, &topics)?.into_keys().collect(),
        group: members.is_some(),
        directory: directory.exists().then_some(directory),
    })
}

/// The names of the internal topics; they do not depend on partition counts.
fn internal<'a>(topology: &'a Topology, application: &'a str) -> impl Iterator<Item = String> + 'a {
    topology.subtopologies.iter().flat_map(move |part| {
        let own = part.sinks.iter().filter_map(move |sink| match &sink.topic {
            TopicRef::Repartition { .. } => Some(sink.topic.resolve(application)),
            TopicRef::External(_) => None,
        });
        let changelog = (!part.stores.is_empty()).then(|| changelog_name(application, &part.name));
        own.chain(changelog)
    })
}

fn show(
    remains: &Remains,
    application: &str,
    acting: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    if remains.is_empty() {
        writeln!(out, "application {application}: nothing to reset")?;
        return Ok(());
    }
    let verb = if acting { "deleting" } else { "would delete" };
    for topic in &remains.topics {
        writeln!(out, "{verb} topic {topic}")?;
    }
    if remains.group {
        writeln!(out, "{verb} group {application} with its offsets")?;
    }
    if let Some(directory) = &remains.directory {
        writeln!(out, "{verb} directory {}", directory.display())?;
    }
    Ok(())
}
