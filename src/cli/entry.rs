//! From the process's arguments to its exit code.

use std::{
    env,
    ffi::OsString,
    fmt,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::{CommandFactory, FromArgMatches};

use crate::{
    cli::{
        Catalog, Engine, Exit,
        arguments::{Arguments, Command, SettingsArguments, TopicsCommand},
        describe::describe,
        dev::dev,
        engine::BuiltIn,
        reset::reset,
        run::run,
        topics_create::topics_create,
        validate::validate,
    },
    error::{Error, ErrorKind},
    settings::{Problem, Settings, SettingsError, Sources, load},
    topologies,
    topology::Topology,
};

/// What every command works with.
pub(super) struct Context<'a> {
    /// The topologies of this binary.
    pub(super) catalog: &'a Catalog,
    /// What executes.
    pub(super) engine: Arc<dyn Engine>,
    /// The environment.
    pub(super) variables: Vec<(String, String)>,
}

impl Context<'_> {
    /// Loads the settings that the arguments ask for.
    pub(super) fn settings(&self, arguments: &SettingsArguments) -> Result<Settings, Error> {
        let flags = arguments
            .flags()
            .map_err(|given| SettingsError::Invalid(vec![Problem::NotAnAssignment { given }]))?;
        let sources =
            Sources { file: arguments.config.clone(), variables: self.variables.clone(), flags };
        Ok(load(&sources)?)
    }
}

/// The whole command line for a user's own topology: `fn main() -> ExitCode {
/// tidemill::main(topology()) }`. A topology that could not be built ends the process with its
/// error.
pub fn main<E: fmt::Display>(topology: Result<Topology, E>) -> ExitCode {
    match topology {
        Ok(topology) => process(&Catalog::Own(Box::new(topology))),
        Err(error) => {
            complain(&Error::new(ErrorKind::Invalid, format!("the topology is wrong: {error}")))
        }
    }
}

/// The command line of the `tidemill` binary, with the shipped topologies.
pub fn shipped() -> ExitCode {
    process(&Catalog::Shipped(topologies::ALL.to_vec()))
}

fn process(catalog: &Catalog) -> ExitCode {
    let engine = Arc::new(BuiltIn);
    match execute(env::args_os(), catalog, engine, env::vars().collect(), &mut io::stdout()) {
        Ok(exit) => exit.code().into(),
        Err(error) => complain(&error),
    }
}

fn complain(error: &Error) -> ExitCode {
    let exit = Exit::from(error.kind());
    // Where stderr is gone there is nobody to tell; the exit code still says it.
    let _untold = writeln!(io::stderr(), "error: {error}");
    exit.code().into()
}

/// Parses and executes a command line; results go to `out`.
///
/// # Errors
/// What the command met. Errors of the command line itself are written by the parser, and give
/// [`Exit::Invalid`]; so are help and version, with [`Exit::Success`].
pub fn execute(
    arguments: impl IntoIterator<Item = OsString>,
    catalog: &Catalog,
    engine: Arc<dyn Engine>,
    variables: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<Exit, Error> {
    let parsed = command(catalog)
        .try_get_matches_from(arguments)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            error.print()?;
            return Ok(Exit::Invalid);
        }
        Err(help) => {
            write!(out, "{help}")?;
            return Ok(Exit::Success);
        }
    };
    let context = Context { catalog, engine, variables };
    match &arguments.command {
        Command::Run(arguments) => run(arguments, &context),
        Command::Dev(arguments) => dev(arguments, &context, out),
        Command::Validate(arguments) => validate(arguments, &context, out),
        Command::Describe(arguments) => describe(arguments, &context, out),
        Command::Topics(TopicsCommand::Create(arguments)) => {
            topics_create(arguments, &context, out)
        }
        Command::Reset(arguments) => reset(arguments, &context, out),
    }
    .map(|()| Exit::Success)
}

/// The grammar, with this binary's topologies in the help.
fn command(catalog: &Catalog) -> clap::Command {
    Arguments::command().after_help(format!("Topologies: {}", catalog.names().join(", ")))
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
