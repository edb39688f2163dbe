//! `validate`: checks settings and topologies without a broker.

use std::io::Write;

use crate::{
    cli::{arguments::ValidateArguments, entry::Context},
    error::{Error, ErrorKind},
    topology::{check_name, describe, validate as validate_topology},
};

/// Runs the command. All topologies of the binary where none is named.
pub(super) fn validate(
    arguments: &ValidateArguments,
    context: &Context<'_>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let settings = context.settings(&arguments.settings)?;
    let names: Vec<String> = if arguments.topologies.is_empty() {
        context.catalog.names().into_iter().map(str::to_owned).collect()
    } else {
        arguments.topologies.clone()
    };
    for topology in context.catalog.find_all(&names)? {
        let application = settings.application_id(&topology.name);
        check_name(application, "the application")
            .and_then(|()| validate_topology(&topology))
            .map_err(|error| {
                Error::new(ErrorKind::Invalid, format!("topology {}: {error}", topology.name))
            })?;
        let parts = describe(&topology, application, None).subtopologies;
        let stores: usize = parts.iter().map(|part| part.stores.len()).sum();
        writeln!(
            out,
            "topology {} is valid: {} subtopologies, {stores} stores",
            topology.name,
            parts.len()
        )?;
    }
    Ok(())
}
