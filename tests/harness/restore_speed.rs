//! W10: how fast a task's state is restored, beside a raw consumer of the same changelog under the
//! same client settings, in turns, in one process. The product's own reader, restorer and store.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};
use tidemill::{
    kafka::{ConnectionSettings, KafkaRestoreLog, Settings},
    record::{Offset, RecordBatch, TopicPartition},
    runtime::{
        RestoreEvent, RestoreLog, RestoreRequest,
        memory::{MemoryOverrides, MemoryPlan, ThreadBudget},
        mutants::Mutant,
        plan::TaskId,
        restore::{RestoreJob, RestoreOutcome, Restorer},
        supervisor::SystemClock,
    },
    state::{EpochId, EpochMarker, RocksDbByteStores, RocksDbSettings, changelog, key_group, keys},
};

use crate::{clock, cluster::Cluster, instance::fresh_directory, outcome::Outcome, report};

const TOPIC: &str = "restore-speed-changelog";

/// What counts as passed.
const RATIO_MIN: f64 = 0.8;

/// How long one pass may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// The marker that ends the changelog.
const MARKER: EpochId = EpochId { epoch: 1, incarnation: 1 };

/// `restore-speed`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Brokers.
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap: String,
    /// Not used: all of it runs in this process.
    #[arg(long, value_name = "BINARY")]
    tidemill: Option<std::path::PathBuf>,
    /// State goes here [without it: a directory under the system's temporary one].
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<std::path::PathBuf>,
    /// Keys.
    #[arg(long, default_value_t = 500_000)]
    keys: u64,
    /// How often each key is written.
    #[arg(long, default_value_t = 5)]
    overwrites: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Partitions, each a task.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// `memory.limit`, in MiB.
    #[arg(long, default_value_t = 1024)]
    limit: u64,
    /// Turns of both.
    #[arg(long, default_value_t = 3)]
    turns: usize,
}

/// What one pass read.
#[derive(Debug, Clone, Copy, Default)]
struct Pass {
    bytes: u64,
    records: u64,
    seconds: f64,
    /// Of all threads of this process.
    cpu_seconds: f64,
}

impl Pass {
    fn mb_per_second(self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds.max(1e-9)
    }
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let cluster = Cluster::connect(&arguments.bootstrap)?;
    cluster.make_topic(TOPIC, arguments.partitions)?;
    fill(arguments)?;
    let base = arguments.directory.clone().unwrap_or_else(std::env::temp_dir);
    let directory = fresh_directory(&base.join(format!("restore-speed-{}", std::process::id())))?;
    let plan = MemoryPlan::split(arguments.limit << 20, 1, MemoryOverrides::default())?;
    // Caches of the broker and of the client are warm for both.
    raw(arguments, &plan)?;
    let (mut raws, mut restores) = (vec![], vec![]);
    for turn in 0..arguments.turns.max(1) {
        let pass = raw(arguments, &plan)?;
        let restored = restore(arguments, &plan, &directory)?;
        if restored.records != pass.records {
            bail!("{} records raw, {} restored", pass.records, restored.records);
        }
        report::line(format_args!(
            "turn {turn}: raw {:.1} MB/s ({:.2} CPU-s), restored {:.1} MB/s ({:.2} CPU-s) \
             ({} records, {:.0} MB)",
            pass.mb_per_second(),
            pass.cpu_seconds,
            restored.mb_per_second(),
            restored.cpu_seconds,
            pass.records,
            pass.bytes as f64 / 1e6
        ));
        raws.push(pass.mb_per_second());
        restores.push(restored.mb_per_second());
    }
    std::fs::remove_dir_all(&directory)?;
    let (raw, restored) = (median(&mut raws), median(&mut restores));
    report::line(format_args!(
        "restore {restored:.1} MB/s, raw consumer {raw:.1} MB/s: ratio {:.2} (at least {RATIO_MIN})",
        restored / raw
    ));
    Ok(Outcome::of(restored / raw >= RATIO_MIN))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Writes the changelog: every key again and again, then a marker per partition.
fn fill(arguments: &Arguments) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &arguments.bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("compression.type", "lz4")
        .create()?;
    let send = |partition: i32, key: &[u8], value: &[u8]| -> Result<()> {
        loop {
            let record = BaseRecord::<[u8], [u8]>::to(TOPIC).partition(partition);
            match producer.send(record.key(key).payload(value)) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    };
    let mut value = vec![changelog_version(); arguments.value_bytes + 1];
    let mut stored = Vec::new();
    for round in 0..arguments.overwrites.max(1) {
        for number in 0..arguments.keys {
            // In no order, as keys are.
            let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            stored.clear();
            keys::encode_key(1, key_group(&key, 57_600), &key, b"", &mut stored);
            let noise = (number ^ round << 48).wrapping_mul(0xd1b5_4a32_d192_ed03).to_be_bytes();
            let bytes = value.iter_mut().skip(1);
            bytes.zip(noise.iter().cycle()).for_each(|(to, from)| *to = *from);
            send((number % arguments.partitions.max(1) as u64) as i32, &stored, &value)?;
            if number.is_multiple_of(1_000) {
                producer.poll(Duration::ZERO);
            }
        }
    }
    producer.flush(PATIENCE)?;
    let marker = EpochMarker { id: MARKER, sources: vec![], watermark: None };
    let (key, encoded) = changelog::marker_record(&marker)?;
    (0..arguments.partitions).try_for_each(|partition| send(partition, key, &encoded))?;
    producer.flush(PATIENCE)?;
    Ok(())
}

/// The version byte in front of every value.
fn changelog_version() -> u8 {
    1
}

fn partitions(arguments: &Arguments) -> impl Iterator<Item = TopicPartition> {
    (0..arguments.partitions).map(|partition| TopicPartition::new(TOPIC, partition))
}

fn reader(arguments: &Arguments, plan: &MemoryPlan, clock: SystemClock) -> Result<KafkaRestoreLog> {
    let settings = Settings {
        bootstrap_servers: arguments.bootstrap.clone(),
        memory: plan.client(),
        ..Settings::default()
    };
    let connection = ConnectionSettings {
        settings,
        application: "restore-speed".to_owned(),
        instance: "i".to_owned(),
        thread: 0,
        epoch_interval: Duration::from_millis(100),
        mutant: Mutant::None,
    };
    Ok(KafkaRestoreLog::new(&connection, clock)?)
}

/// What this process has used of the processors, in seconds.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold spaces: the state, ten numbers, then user and system time.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>().context("no processor time")?;
    // Linux counts hundredths for processes, whatever the kernel's own ticks are.
    Ok(ticks as f64 / 100.0)
}

/// Reads all of it with librdkafka's batch consumer, and keeps nothing.
fn raw(arguments: &Arguments, plan: &MemoryPlan) -> Result<Pass> {
    let clock = SystemClock::start();
    let mut log = reader(arguments, plan, clock)?;
    let (mut pass, mut open) = (Pass::default(), arguments.partitions);
    let (began, cpu_began) = (clock::now(), cpu_seconds()?);
    for partition in partitions(arguments) {
        log.submit(RestoreRequest::Read { partition, offset: Offset(0) });
    }
    while open > 0 {
        match log.poll(clock.now().mono + Duration::from_millis(100)) {
            Some(RestoreEvent::Records(batch)) => {
                for index in 0..batch.len() {
                    let record = batch.record(index);
                    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len) as u64;
                    pass.bytes += length(record.key) + length(record.value);
                    pass.records += 1;
                }
            }
            Some(RestoreEvent::CaughtUp { partition, .. }) => {
                log.submit(RestoreRequest::Stop { partition });
                open -= 1;
            }
            Some(RestoreEvent::Failed { cause, .. }) => bail!("raw read: {cause:?}"),
            Some(RestoreEvent::Bounds { .. }) | None => {}
        }
        if began.elapsed() > PATIENCE {
            bail!("the raw read takes longer than {PATIENCE:?}");
        }
    }
    pass.seconds = began.elapsed().as_secs_f64();
    pass.cpu_seconds = cpu_seconds()? - cpu_began;
    Ok(pass)
}

/// Restores all of it into empty stores.
fn restore(arguments: &Arguments, plan: &MemoryPlan, directory: &Path) -> Result<Pass> {
    let clock = SystemClock::start();
    let log = reader(arguments, plan, clock)?;
    let settings = RocksDbSettings {
        cache_bytes: bytesize::ByteSize(plan.byte_store),
        write_buffer_bytes: bytesize::ByteSize(plan.write_buffer_bytes()),
        ..RocksDbSettings::default()
    };
    let directory = fresh_directory(&directory.join("state"))?;
    let stores = Box::new(RocksDbByteStores::new(&directory, settings));
    let mut restorer = Restorer::new(log, stores).holding(plan.restore_bytes());
    // As a thread that has no task yet does.
    let budget =
        ThreadBudget { cache: plan.cache, spill: plan.spill_bytes(), epoch: plan.epoch_bytes() };
    restorer.lend(budget.lendable());
    let (mut pass, mut open) = (Pass::default(), arguments.partitions);
    let (began, cpu_began) = (clock::now(), cpu_seconds()?);
    for partition in partitions(arguments) {
        restorer.submit(RestoreJob {
            task: TaskId { subtopology: 0, partition: partition.partition },
            name: format!("count_{}", partition.partition),
            changelog: partition,
            topic_id: "id".to_owned(),
            delete_retention_ms: 86_400_000,
            expected: Some(MARKER),
        });
    }
    while open > 0 {
        let now = clock.now();
        restorer.step(now, now.mono + Duration::from_millis(5));
        while let Some(outcome) = restorer.poll() {
            match outcome {
                RestoreOutcome::Done { records, bytes, .. } => {
                    pass.records += records;
                    pass.bytes += bytes;
                    open -= 1;
                }
                RestoreOutcome::Failed { error, .. } => bail!("restore: {error}"),
                RestoreOutcome::Progress { .. } => {}
            }
        }
        if began.elapsed() > PATIENCE {
            bail!("the restore takes longer than {PATIENCE:?}");
        }
    }
    pass.seconds = began.elapsed().as_secs_f64();
    pass.cpu_seconds = cpu_seconds()? - cpu_began;
    Ok(pass)
}
