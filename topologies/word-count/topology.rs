//! Counts words: lines of text in, the count of each word out.
//!
//! A word goes to another partition than the line that it stands in, so there are two
//! subtopologies with a repartition topic in between.

use crate::{
    dsl::{Repartition, Source, Topology, TopologyBuilder, TopologyError},
    formats::{Unit, Utf8},
};

/// Read: the value is a line of UTF-8 text, the key does not matter.
pub const LINES: &str = "lines";

/// Written: the key is the word, the value its count in decimal digits, both UTF-8 text. Every
/// update is written; the last one of a word is its count.
pub const WORD_COUNTS: &str = "word-counts";

/// The topology.
pub fn topology() -> Result<Topology, TopologyError> {
    let builder = TopologyBuilder::new("word-count");
    builder
        .stream(Source::new(LINES, Unit, Utf8))
        .flat_map(|(), line: String| words(&line).into_iter().map(|word| (word, ())))
        .repartition(Repartition::new("words", Utf8, Unit))
        .group_by_key()
        .count("counts")
        .updates()
        .map_values(|_, count| count.to_string())
        .to(WORD_COUNTS, Utf8, Utf8);
    builder.build()
}

/// The words of a line: runs of alphabetic characters, in lower case.
pub fn words(line: &str) -> Vec<String> {
    line.split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}
