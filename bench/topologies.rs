//! The workloads as topologies of Tidemill, run by the same command line as every other.

use std::{env, path::Path, process::ExitCode};

use tidemill::{
    dsl::{Source, Topology, TopologyBuilder, TopologyError},
    formats::{Bytes, U64, Utf8},
};

use crate::{report, stalls::Stalls};

/// Names the workload, where this process is to be Tidemill.
pub(crate) const WORKLOAD: &str = "BENCH_TOPOLOGY";
/// Names input and output topic.
pub(crate) const INPUT: &str = "BENCH_INPUT";
/// See [`INPUT`].
pub(crate) const OUTPUT: &str = "BENCH_OUTPUT";
/// Where the stalls are written at the end.
pub(crate) const REPORT: &str = "BENCH_REPORT";

static STALLS: Stalls = Stalls::new();

/// Is Tidemill, if the environment says so.
pub(crate) fn run() -> Option<ExitCode> {
    let workload = env::var(WORKLOAD).ok()?;
    let name = |variable| env::var(variable).unwrap_or_default();
    let code = tidemill::main(topology(&workload, &name(INPUT), &name(OUTPUT)));
    if let Err(error) = STALLS.write(Path::new(&name(REPORT))) {
        report::line(error);
    }
    Some(code)
}

fn topology(workload: &str, input: &str, output: &str) -> Result<Topology, TopologyError> {
    let builder = TopologyBuilder::new("bench");
    let records = builder.stream(Source::new(input, Utf8, Bytes)).peek(|_, _| STALLS.record());
    if workload == "map" {
        records.map_values(|_, value| value).to(output, Utf8, Bytes);
    } else {
        records.group_by_key().count("counts").updates().to(output, Utf8, U64);
    }
    builder.build()
}
