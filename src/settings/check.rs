//! Limits of single settings, and what must hold between them.

use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::{
    kafka::{SecretError, SettingsError},
    settings::{Place, Problem, Settings},
    topology::check_name,
};

const NAME_CHARS_MAX: usize = 100;
const THREADS_MAX: usize = 256;
const INTERVAL_MAX: Duration = Duration::from_mins(5);

/// Adds to `problems` what makes no sense. `place` tells where a key was given.
pub(super) fn check(
    settings: &Settings,
    place: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) {
    let mut refuse = |key: &str, reason: String| {
        problems.push(Problem::Refused { key: key.to_owned(), place: place(key), reason });
    };
    names(settings, &mut refuse);
    kafka(settings, &mut refuse);
    epoch(settings, &mut refuse);
    state_and_shutdown(settings, &mut refuse);
    if let Err(error) = settings.memory_plan(1) {
        refuse("memory.limit", error.to_string());
    }
    if let Err(SecretError { name, path, reason }) = settings.kafka.reveal_properties() {
        let key = format!("kafka.properties.{name}");
        problems.push(Problem::SecretFile { key, path: Place::File(path), reason });
    }
}

/// Why `name` cannot be an instance's name, if it cannot. A dot would make transactional ids
/// ambiguous: `<app>.<instance>.<thread>.<lane>`.
fn instance_problem(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() {
        Some("it is empty".to_owned())
    } else if let Some(c) = name.chars().find(|&c| !allowed(c)) {
        Some(format!("{name:?} holds {c:?}; letters, digits, '-' and '_' are allowed"))
    } else if name.len() > NAME_CHARS_MAX {
        Some(format!("it has {} characters, at most {NAME_CHARS_MAX} are allowed", name.len()))
    } else {
        None
    }
}

fn names(settings: &Settings, refuse: &mut dyn FnMut(&str, String)) {
    // The application's name becomes part of topic names: the topology's rule.
    if let Some(Err(error)) =
        settings.application_id.as_deref().map(|name| check_name(name, "the application"))
    {
        refuse("application-id", error.to_string());
    }
    if let Some(reason) = settings.instance_id.as_deref().and_then(instance_problem) {
        refuse("instance-id", reason);
    }
    if !(1..=THREADS_MAX).contains(&settings.threads) {
        refuse("threads", format!("{} is not between 1 and {THREADS_MAX}", settings.threads));
    }
}

fn kafka(settings: &Settings, refuse: &mut dyn FnMut(&str, String)) {
    for problem in settings.kafka.problems() {
        match problem {
            SettingsError::Reserved { name, reason } => {
                refuse(&format!("kafka.properties.{name}"), reason.to_owned());
            }
            SettingsError::Invalid { name, reason } => refuse(&format!("kafka.{name}"), reason),
        }
    }
}

fn epoch(settings: &Settings, refuse: &mut dyn FnMut(&str, String)) {
    let epoch = &settings.epoch;
    if epoch.interval < Duration::from_millis(1) || epoch.interval > INTERVAL_MAX {
        refuse("epoch.interval", format!("{:?} is not between 1ms and 5m", epoch.interval));
    }
    if epoch.timeout < epoch.interval {
        let reason =
            format!("{:?} is shorter than epoch.interval {:?}", epoch.timeout, epoch.interval);
        refuse("epoch.timeout", reason);
    }
    let transaction = settings.kafka.transaction_timeout(epoch.interval);
    let open = epoch.interval.max(epoch.min_pause);
    if transaction < open.saturating_mul(2) {
        let reason = format!(
            "{transaction:?} is less than twice the {open:?} that an epoch lasts \
             (epoch.interval, epoch.min-pause): the broker would abort healthy epochs"
        );
        refuse("kafka.transaction-timeout", reason);
    }
    if epoch.max_records == 0 {
        refuse("epoch.max-records", "it must be at least 1".to_owned());
    }
    if epoch.max_bytes.as_u64() == 0 {
        refuse("epoch.max-bytes", "it must be more than nothing".to_owned());
    }
}

fn state_and_shutdown(settings: &Settings, refuse: &mut dyn FnMut(&str, String)) {
    if settings.state.dir.as_os_str().is_empty() {
        refuse("state.dir", "it is empty".to_owned());
    }
    if settings.state.spill_interval.is_zero() {
        refuse("state.spill-interval", "it must be more than nothing".to_owned());
    }
    if settings.shutdown.timeout.is_zero() {
        refuse("shutdown.timeout", "it must be more than nothing".to_owned());
    }
    let level = &settings.log.level;
    if let Some(bad) = level.split(',').find(|part| !is_directive(part.trim())) {
        let reason = format!(
            "{bad:?} is no level; expected error, warn, info, debug, trace or off, also by module \
             as in \"info,tidemill::kafka=debug\""
        );
        refuse("log.level", reason);
    }
}

/// A level, or `module=level`. The subscriber would take a misspelt level for a module's name.
fn is_directive(part: &str) -> bool {
    let level = part.split_once('=').map_or(part, |(_, level)| level);
    level.parse::<LevelFilter>().is_ok() && part.parse::<Targets>().is_ok()
}
