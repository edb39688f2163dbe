//! Which keys exist, which is nearest to one that does not, and what form its value has.
//!
//! All of it is read off `Settings::default()`, so that there is no second list to forget.

use std::{collections::BTreeMap, net::SocketAddr, sync::LazyLock};

use serde_json::Value;

use crate::settings::Settings;

/// The table whose keys are librdkafka's, not ours.
pub(super) const PROPERTIES: &str = "kafka.properties";

/// All leaf keys, dotted, with their defaults.
static LEAVES: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let mut leaves = BTreeMap::new();
    if let Ok(tree) = serde_json::to_value(Settings::default()) {
        collect("", tree, &mut leaves);
    }
    leaves
});

fn collect(path: &str, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(table) if path != PROPERTIES => {
            for (key, value) in table {
                collect(&join(path, &key), value, leaves);
            }
        }
        leaf => {
            leaves.insert(path.to_owned(), leaf);
        }
    }
}

/// `path.key`, or `key` at the root.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// What a dotted path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// A setting.
    Leaf,
    /// A table of settings.
    Table,
    /// [`PROPERTIES`].
    Properties,
    /// Nothing.
    Unknown,
}

/// What `path` names.
pub(super) fn kind(path: &str) -> KeyKind {
    if path == PROPERTIES {
        KeyKind::Properties
    } else if LEAVES.contains_key(path) {
        KeyKind::Leaf
    } else if LEAVES.keys().any(|key| key.strip_prefix(path).is_some_and(|k| k.starts_with('.'))) {
        KeyKind::Table
    } else {
        KeyKind::Unknown
    }
}

/// All keys, sorted.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    LEAVES.keys().map(String::as_str)
}

/// The known key that is most similar to `unknown`, if any is similar enough to be meant.
pub(super) fn nearest(unknown: &str) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned).unwrap_or_default();
    let unknown_last = last(unknown);
    let distance = |key: &String| {
        let whole = strsim::damerau_levenshtein(unknown, key);
        // A key in the wrong table, or in none: its last word decides.
        let word = strsim::damerau_levenshtein(&unknown_last, &last(key)) + 1;
        whole.min(word)
    };
    let (best, key) = LEAVES.keys().map(|key| (distance(key), key)).min()?;
    (best <= 1 + unknown_last.len() / 3).then(|| key.clone())
}

/// The form that the value of `key` must have, in words with an example.
pub(super) fn expected_form(key: &str) -> Option<String> {
    let default = LEAVES.get(key)?;
    let is_size = key.ends_with("-bytes") || key == "memory.limit";
    let form = match default {
        Value::Null if is_size => "a size such as \"64MiB\"".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Number(number) => format!("a whole number such as {number}"),
        Value::String(text) if text.parse::<SocketAddr>().is_ok() => {
            format!("an address such as \"{text}\"")
        }
        Value::String(text) if is_duration(text) => {
            "a duration such as \"100ms\" or \"10s\"".to_owned()
        }
        Value::String(text) if text.parse::<bytesize::ByteSize>().is_ok() => {
            "a size such as \"64MiB\"".to_owned()
        }
        _ => return None,
    };
    Some(form)
}

fn is_duration(text: &str) -> bool {
    humantime_serde::re::humantime::parse_duration(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_its_neighbour_also_in_the_wrong_table() {
        assert_eq!(nearest("epoch.intervall").as_deref(), Some("epoch.interval"));
        assert_eq!(nearest("epoch.max_records").as_deref(), Some("epoch.max-records"));
        assert_eq!(nearest("bootstrap-servers").as_deref(), Some("kafka.bootstrap-servers"));
        assert_eq!(nearest("kafka.session-timeot").as_deref(), Some("kafka.session-timeout"));
        assert_eq!(nearest("zzzzqqqq"), None);
    }

    #[test]
    fn the_form_of_a_value_follows_from_its_default() {
        let form = |key: &str| expected_form(key).unwrap_or_default();
        assert!(form("epoch.interval").contains("duration"));
        assert!(form("epoch.max-bytes").contains("size"));
        assert!(form("epoch.max-records").contains("whole number"));
        assert!(form("state.purge-repartition-topics").contains("true or false"));
        assert!(form("http.bind").contains("127.0.0.1:9464"));
        assert_eq!(expected_form("epoch.guarantee"), None);
    }
}
