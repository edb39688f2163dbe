//! What the tests of real processes run: a user's own binary, word count from `IT_INPUT` to
//! `IT_OUTPUT`, under the error policy `IT_POLICY` (fail or skip). The line `hang` stops it for
//! good. Built for tests only.

// Whoever starts it wrongly may see it panic.
#![allow(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used)]

use std::{env, process::ExitCode, thread};

use tidemill::{
    dsl::{Repartition, Source, Topology, TopologyBuilder, TopologyError},
    formats::{Unit, Utf8},
    topology::ErrorPolicy,
};

fn topology() -> Result<Topology, TopologyError> {
    let policy = match env::var("IT_POLICY").as_deref() {
        Ok("skip") => ErrorPolicy::Skip,
        _ => ErrorPolicy::Fail,
    };
    let builder = TopologyBuilder::new("it-instance").on_error(policy);
    builder
        .stream(Source::new(env::var("IT_INPUT").unwrap(), Unit, Utf8))
        .peek(|(), line: &String| {
            if line == "hang" {
                eprintln!("hanging");
                loop {
                    thread::park();
                }
            }
        })
        .flat_map(|(), line: String| {
            let words: Vec<_> = line.split(' ').map(|word| (word.to_owned(), ())).collect();
            words
        })
        .repartition(Repartition::new("words", Utf8, Unit))
        .group_by_key()
        .count("counts")
        .updates()
        .map_values(|_, count| count.to_string())
        .to(&env::var("IT_OUTPUT").unwrap(), Utf8, Utf8);
    builder.build()
}

fn main() -> ExitCode {
    tidemill::main(topology())
}
