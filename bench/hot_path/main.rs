//! What the hot path costs in instructions, so that a change's cost shows on a noisy machine.
//!
//! Without arguments it runs itself under valgrind, each case twice with different counts: the
//! difference is the cost of the records alone, whatever start and set-up cost. State is in memory:
//! the byte store's own cost is no part of it.

#[path = "../input.rs"]
#[allow(dead_code)]
mod input;
mod task;

use std::{env, hint::black_box, process::Command};

use anyhow::{Context, Result, bail};
use tidemill::{
    formats::{Bytes, Codec, Json, U64, Utf8},
    state::{ByteStores, MemoryByteStores, TaskState, ValueState},
};

use input::{Input, Keys};
use task::CountTask;

/// Keys of the state: what a run of an epoch touches.
const KEYS: u64 = 20_000;

const INPUT: Input = Input { keys: Keys::Uniform, cardinality: KEYS, partitions: 4 };

/// A case: its name, what one unit of it is, what is done `count` times.
type Case = (&'static str, &'static str, fn(u64) -> Result<()>);

const CASES: &[Case] = &[
    ("decode", "key and value of a record as text and bytes", decode),
    ("decode-json", "the value as typed JSON", decode_json),
    ("update", "a resident count by one", update),
    ("encode", "key and count of an output", encode),
    ("record", "a record through the whole chain", record),
    ("seal", "a changed key into overlay and changelog", seal),
    ("apply", "a changed key into the committed layer", apply),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [case, count] = arguments.as_slice() {
        let known = CASES.iter().find(|(name, ..)| name == case);
        let (_, _, run) = known.with_context(|| format!("there is no case {case}"))?;
        return run(count.parse()?);
    }
    let program = env::current_exe()?;
    #[expect(clippy::print_stdout, reason = "the result")]
    for (case, about, _) in CASES {
        let (few, many) = (KEYS, 3 * KEYS);
        let difference = instructions(&program, case, many)? - instructions(&program, case, few)?;
        println!("{case:<12} {:>7} instructions: {about}", difference / (many - few));
    }
    Ok(())
}

/// Instructions that the program executes for a case, by valgrind's count.
fn instructions(program: &std::path::Path, case: &str, count: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(program)
        .args([case, &count.to_string()])
        .output()
        .context("valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.split_once("refs:")).map(|(_, count)| count);
    match line {
        Some(count) if output.status.success() => Ok(count.trim().replace(',', "").parse()?),
        _ => bail!("{case}: {text}"),
    }
}

/// Keys and values of records, one after the other.
fn records(count: u64) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    (0..count).map(|index| {
        let (mut key, mut value) = (vec![], vec![]);
        INPUT.record(index, &mut key, &mut value);
        (key, value)
    })
}

/// One record again and again: making records is no part of a case.
fn one() -> Result<(Vec<u8>, Vec<u8>)> {
    records(1).next().context("no record")
}

fn decode(count: u64) -> Result<()> {
    let (key, value) = one()?;
    for _ in 0..count {
        let key: String = Utf8.decode(black_box(&key))?;
        let value: Vec<u8> = Bytes.decode(black_box(&value))?;
        black_box((key, value));
    }
    Ok(())
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Payload {
    key: String,
    note: String,
}

fn decode_json(count: u64) -> Result<()> {
    let value = serde_json::to_vec(&Payload { key: "k".repeat(16), note: "x".repeat(60) })?;
    let codec = Json::<Payload>::new();
    for _ in 0..count {
        let payload: Payload = codec.decode(black_box(&value))?;
        black_box(payload);
    }
    Ok(())
}

fn encode(count: u64) -> Result<()> {
    let (key, mut out) = ("k".repeat(16), Vec::new());
    for number in 0..count {
        out.clear();
        Utf8.encode(black_box(&key), &mut out)?;
        U64.encode(black_box(&number), &mut out)?;
        black_box(&out);
    }
    Ok(())
}

fn update(count: u64) -> Result<()> {
    let store = MemoryByteStores::default().open("task")?;
    let mut state = TaskState::open(store)?;
    let mut counts: ValueState<String, u64> =
        ValueState::new("counts", "value", std::sync::Arc::new(Utf8), std::sync::Arc::new(U64));
    counts.open(&mut state)?;
    let keys: Vec<String> = (0..KEYS).map(|key| format!("k{key:015}")).collect();
    for key in &keys {
        counts.update(&mut state, key, |value| *value = Some(0))?;
    }
    for key in keys.iter().cycle().take(usize::try_from(count)?) {
        counts.update(&mut state, black_box(key), |value| *value = value.map(|v| v + 1))?;
    }
    Ok(())
}

/// The input is made beforehand, in the same size for every count.
fn prepared() -> Result<(CountTask, Vec<(Vec<u8>, Vec<u8>)>)> {
    let mut task = CountTask::new()?;
    let input: Vec<_> = records(3 * KEYS).collect();
    for (key, value) in &input {
        task.record(key, value)?;
    }
    task.seal()?;
    task.apply();
    Ok((task, input))
}

fn record(count: u64) -> Result<()> {
    let (mut task, input) = prepared()?;
    for (key, value) in input.iter().take(usize::try_from(count)?) {
        task.record(key, value)?;
    }
    Ok(())
}

/// Three tasks with the same work before them; `each` is called for as many as `count` says.
fn tasks(
    count: u64,
    before: fn(&mut CountTask) -> Result<()>,
    each: fn(&mut CountTask) -> Result<()>,
) -> Result<()> {
    for number in 0..3 {
        let (mut task, _) = prepared()?;
        for key in 0..KEYS {
            task.record(format!("k{key:015}").as_bytes(), b"")?;
        }
        before(&mut task)?;
        if number < count / KEYS {
            each(&mut task)?;
        }
    }
    Ok(())
}

fn seal(count: u64) -> Result<()> {
    let seal = |task: &mut CountTask| {
        task.seal()?;
        black_box(task.changelog());
        Ok(())
    };
    tasks(count, |_| Ok(()), seal)
}

fn apply(count: u64) -> Result<()> {
    let apply = |task: &mut CountTask| {
        task.apply();
        Ok(())
    };
    tasks(count, CountTask::seal, apply)
}
