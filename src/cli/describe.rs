//! `describe`: shows a topology, without a broker.

use std::io::Write;

use crate::{
    cli::{
        arguments::{DescribeArguments, DescribeFormat},
        entry::Context,
    },
    error::Error,
    topology,
};

/// Runs the command.
pub(super) fn describe(
    arguments: &DescribeArguments,
    context: &Context<'_>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let settings = context.settings(&arguments.settings)?;
    let topology = context.catalog.find(arguments.topology.as_deref())?;
    let application = settings.application_id(&topology.name);
    let description = topology::describe(&topology, application, None);
    let text = match arguments.format {
        DescribeFormat::Text => description.text(),
        DescribeFormat::Json => description.json(),
        DescribeFormat::Dot => description.graphviz(),
    };
    writeln!(out, "{}", text.trim_end())?;
    Ok(())
}
