//! `dev`: a topology on the embedded in-memory log, JSON lines in and out.
//!
//! A line is `{"topic", "key", "value", "partition"?, "timestamp"?}`. A key or value that is a
//! text is those bytes of UTF-8; null is Kafka's null; anything else is its JSON text. Bytes that
//! are no printable text stand as hex digits in `key_hex` or `value_hex`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    cli::{arguments::DevArguments, entry::Context, logging},
    error::{Error, ErrorKind},
    record::{PartitionId, Timestamp},
    settings::{LogSettings, Settings},
    topology::Topology,
};

/// A record read from, or written to, a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevRecord {
    /// The topic.
    pub topic: String,
    /// The partition; `None` in input: by the key's hash, or 0 without a key.
    pub partition: Option<PartitionId>,
    /// The timestamp; `None` in input: the log's time.
    pub timestamp: Option<Timestamp>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
}

/// What [`crate::cli::Engine::dev`] is to run.
pub struct DevJob {
    /// The topology.
    pub topology: Topology,
    /// The application id.
    pub application: String,
    /// Partitions of every topic.
    pub partitions: i32,
    /// All settings; those of the brokers, of the state directory and of the port do not count.
    pub settings: Settings,
    /// The input, in the order in which it is written.
    pub records: Vec<DevRecord>,
    /// How far virtual time may go on at the end of the input, for processing-time timers.
    pub timers_within: Duration,
}

/// Runs the command.
pub(super) fn dev(
    arguments: &DevArguments,
    context: &Context<'_>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let settings = context.settings(&arguments.settings)?;
    // Results go to the terminal: what is usual in a service's log would bury them.
    let log = settings.log.clone();
    let level =
        if log.level == LogSettings::default().level { "warn".to_owned() } else { log.level };
    logging::start(&LogSettings { level, ..log });
    let topology = context.catalog.find(arguments.topology.as_deref())?;
    let input = read_all(&arguments.input)?;
    let records = parse(input, arguments.partitions)?;
    let application = settings.application_id(&topology.name).to_owned();
    let job = DevJob {
        topology,
        application,
        partitions: arguments.partitions,
        settings,
        records,
        timers_within: arguments.timers_within,
    };
    let mut failed = None;
    context.engine.dev(job, &mut |record| {
        if failed.is_none() {
            failed = writeln!(out, "{}", line(&record)).err();
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn read_all(path: &Path) -> Result<Box<dyn Read>, Error> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            Err(Error::new(ErrorKind::Invalid, message))
        }
    }
}

/// A line as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition: Option<PartitionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    #[serde(default)]
    key: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(default)]
    value: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
}

/// The records of JSON lines; empty lines are passed over. Errors name the line.
fn parse(input: impl Read, partitions: i32) -> Result<Vec<DevRecord>, Error> {
    let mut records = Vec::new();
    for (index, line) in BufReader::new(input).lines().enumerate() {
        let refused = |reason: String| {
            Error::new(ErrorKind::Invalid, format!("input line {}: {reason}", index + 1))
        };
        let line = line.map_err(|error| refused(error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line).map_err(|error| refused(error.to_string()))?;
        if let Some(partition) = line.partition.filter(|p| !(0..partitions).contains(p)) {
            let reason = format!("partition {partition} is not below --partitions {partitions}");
            return Err(refused(reason));
        }
        records.push(DevRecord {
            topic: line.topic,
            partition: line.partition,
            timestamp: line.timestamp.map(Timestamp),
            key: bytes(line.key, line.key_hex).map_err(|e| refused(format!("key: {e}")))?,
            value: bytes(line.value, line.value_hex).map_err(|e| refused(format!("value: {e}")))?,
        });
    }
    Ok(records)
}

fn bytes(json: Option<Value>, hex: Option<String>) -> Result<Option<Vec<u8>>, String> {
    match (json, hex) {
        (Some(_), Some(_)) => Err("given twice, also as hex".to_owned()),
        (None, Some(hex)) => from_hex(&hex).map(Some),
        (None | Some(Value::Null), None) => Ok(None),
        (Some(Value::String(text)), None) => Ok(Some(text.into_bytes())),
        (Some(other), None) => Ok(Some(other.to_string().into_bytes())),
    }
}

fn from_hex(hex: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()
        .ok_or("hex digits expected")?;
    if !digits.len().is_multiple_of(2) {
        return Err("an even number of hex digits expected".to_owned());
    }
    Ok(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect())
}

/// A record as a JSON line.
fn line(record: &DevRecord) -> String {
    let (key, key_hex) = shown(record.key.as_deref());
    let (value, value_hex) = shown(record.value.as_deref());
    let line = Line {
        topic: record.topic.clone(),
        partition: record.partition,
        timestamp: record.timestamp.map(|timestamp| timestamp.0),
        key,
        key_hex,
        value,
        value_hex,
    };
    // Texts and numbers only: there is nothing that JSON cannot hold.
    serde_json::to_string(&line).unwrap_or_default()
}

/// Bytes as JSON, or as hex digits where they are no printable text.
fn shown(bytes: Option<&[u8]>) -> (Option<Value>, Option<String>) {
    let Some(bytes) = bytes else { return (None, None) };
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(control) => {
            // A list or an object is shown as such if that keeps every byte.
            let json = serde_json::from_str::<Value>(text).ok();
            let same = json.filter(|v| (v.is_object() || v.is_array()) && *v.to_string() == *text);
            (Some(same.unwrap_or_else(|| Value::String(text.to_owned()))), None)
        }
        _ => (None, Some(hex(bytes))),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<DevRecord> {
        parse(text.as_bytes(), 4).unwrap()
    }

    #[test]
    fn lines_become_records() {
        let records = parsed(
            "{\"topic\":\"lines\",\"key\":null,\"value\":\"to be\"}\n\n\
             {\"topic\":\"t\",\"key\":\"a\",\"value\":{\"n\":1},\"partition\":3,\"timestamp\":7}\n\
             {\"topic\":\"t\",\"key\":5,\"value_hex\":\"00FF\"}\n",
        );
        let record = |topic: &str, key: Option<&[u8]>, value: &[u8]| DevRecord {
            topic: topic.to_owned(),
            partition: None,
            timestamp: None,
            key: key.map(<[u8]>::to_vec),
            value: Some(value.to_vec()),
        };
        let mut second = record("t", Some(b"a"), b"{\"n\":1}");
        second.partition = Some(3);
        second.timestamp = Some(Timestamp(7));
        assert_eq!(
            records,
            [record("lines", None, b"to be"), second, record("t", Some(b"5"), &[0, 255])]
        );
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        for value in ["text", "{\"b\":1,\"a\":2}", "[1,2]", "\u{0}\u{1}", "ümlaut\n", ""] {
            let record = DevRecord {
                topic: "t".to_owned(),
                partition: Some(1),
                timestamp: Some(Timestamp(9)),
                key: None,
                value: Some(value.as_bytes().to_vec()),
            };
            assert_eq!(parsed(&line(&record)), [record], "{value:?}");
        }
        let count = DevRecord {
            topic: "t".to_owned(),
            partition: None,
            timestamp: None,
            key: Some(b"word".to_vec()),
            value: Some(vec![0, 0, 0, 5]),
        };
        assert_eq!(
            line(&count),
            "{\"topic\":\"t\",\"key\":\"word\",\"value\":null,\"value_hex\":\"00000005\"}"
        );
    }

    #[test]
    fn bad_lines_are_named() {
        let message = |text: &str| {
            let error = parse(text.as_bytes(), 4).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            error.to_string()
        };
        let good = "{\"topic\":\"t\",\"key\":null,\"value\":null}\n";
        let unknown = message(&format!("{good}{{\"topic\":\"t\",\"vaule\":1}}"));
        assert!(unknown.starts_with("input line 2: unknown field `vaule`"), "{unknown}");
        assert!(message("{\"topic\":\"t\",\"partition\":4}").contains("partition 4 is not below"));
        assert!(message("{\"topic\":\"t\",\"key_hex\":\"abc\"}").contains("even number"));
        assert!(message("{\"topic\":\"t\",\"key_hex\":\"+a\"}").contains("hex digits expected"));
        assert!(message("not json").starts_with("input line 1: "));
    }
}
