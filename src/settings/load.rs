//! Loads settings: defaults, then file, then environment, then flags; the later overrules.
//!
//! All problems are reported at once, each with its place. Must not read the environment: the
//! caller (`cli`) hands over names and values.

use std::{fs, io, path::PathBuf};

use figment::{
    Figment, Metadata, Profile, Provider,
    error::Kind,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};

use crate::settings::{
    Place, Problem, Settings, SettingsError, check,
    keys::{self, KeyKind, PROPERTIES},
};

/// The embedded file of defaults.
pub(super) const DEFAULTS: &str = include_str!("default.toml");

const VARIABLE_PREFIX: &str = "TIDEMILL_";
/// Variables of the same prefix that are no settings: the command line's own, and those of the
/// repository's scripts and tests.
const NOT_SETTINGS: [&str; 5] = [
    "TIDEMILL_CONFIG",
    "TIDEMILL_CACHE",
    "TIDEMILL_BLESS",
    "TIDEMILL_FAILPOINTS",
    "TIDEMILL_MUTANT",
];
const TEST_PREFIX: &str = "TIDEMILL_TEST_";
/// The file that is read where none is named.
const USUAL_FILE: &str = "tidemill.toml";

/// Where settings come from, besides the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`; it must exist. Without it `./tidemill.toml` is read if it exists.
    pub file: Option<PathBuf>,
    /// Environment variables, all of them; those without the prefix are passed over.
    pub variables: Vec<(String, String)>,
    /// Flags: as written, the dotted key, the value.
    pub flags: Vec<(String, String, String)>,
}

/// Loads and checks settings.
///
/// # Errors
/// [`SettingsError`], in words for people, with every problem that was found.
pub fn load(sources: &Sources) -> Result<Settings, SettingsError> {
    let mut layers = Vec::new();
    layers.extend(file_layer(sources.file.clone())?);
    layers.extend(sources.variables.iter().filter_map(|(name, value)| variable(name, value)));
    for (flag, key, value) in &sources.flags {
        layers.push(Layer::of(Place::Flag(flag.clone()), key, text(value)));
    }
    let mut problems = Vec::new();
    for layer in &mut layers {
        let Layer { place, dict } = layer;
        *dict = known_part("", std::mem::take(dict), place, &mut problems);
    }
    let settings = extract(&mut layers, &mut problems);
    if problems.is_empty() {
        let place = |key: &str| place_of(key, &layers);
        check::check(&settings, &place, &mut problems);
    }
    if problems.is_empty() { Ok(settings) } else { Err(SettingsError::Invalid(problems)) }
}

/// One place with what it sets, nested as the settings are.
struct Layer {
    place: Place,
    dict: Dict,
}

impl Layer {
    fn of(place: Place, key: &str, value: Value) -> Self {
        let prefix = format!("{PROPERTIES}.");
        let mut dict = Dict::new();
        // The names of properties have dots of their own.
        let segments: Vec<&str> = match key.strip_prefix(&prefix) {
            Some(property) => PROPERTIES.split('.').chain([property]).collect(),
            None => key.split('.').collect(),
        };
        insert(&mut dict, &segments, value);
        Self { place, dict }
    }
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

fn text(value: &str) -> Value {
    Value::from(value)
}

fn insert(dict: &mut Dict, segments: &[&str], value: Value) {
    match segments {
        [] => {}
        [key] => {
            dict.insert((*key).to_owned(), value);
        }
        [key, rest @ ..] => {
            let mut inner = Dict::new();
            insert(&mut inner, rest, value);
            dict.insert((*key).to_owned(), Value::from(inner));
        }
    }
}

fn file_layer(named: Option<PathBuf>) -> Result<Option<Layer>, SettingsError> {
    let required = named.is_some();
    let path = named.unwrap_or_else(|| PathBuf::from(USUAL_FILE));
    let content = match fs::read_to_string(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => return Ok(None),
        Err(error) => return Err(SettingsError::Unreadable { path, reason: error.to_string() }),
    };
    match Toml::from_str::<Dict>(&content) {
        Ok(dict) => Ok(Some(Layer { place: Place::File(path), dict })),
        Err(error) => Err(SettingsError::Syntax { path, reason: without_snippet(&error) }),
    }
}

/// A TOML error without the line that it shows: that may be a secret's.
fn without_snippet(error: &impl std::fmt::Display) -> String {
    let message = error.to_string();
    let shows_source = |line: &&str| {
        line.split_once('|')
            .is_some_and(|(number, _)| number.trim().chars().all(|c| c.is_ascii_digit()))
    };
    message.lines().filter(|line| !shows_source(line)).collect::<Vec<_>>().join(": ")
}

/// `TIDEMILL_EPOCH__MAX_RECORDS` is `epoch.max-records`; in `kafka.properties` an underscore is a
/// dot, and a trailing `__FILE` names a secret's file.
fn variable(name: &str, value: &str) -> Option<Layer> {
    let rest = name.strip_prefix(VARIABLE_PREFIX)?;
    if NOT_SETTINGS.contains(&name) || name.starts_with(TEST_PREFIX) || is_service_link(rest, value)
    {
        return None;
    }
    let place = Place::Variable(name.to_owned());
    let words: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match words.as_slice() {
        ["kafka", "properties", property] => {
            let key = format!("{PROPERTIES}.{}", property.replace('_', "."));
            Layer::of(place, &key, text(value))
        }
        ["kafka", "properties", property, "file"] => {
            let key = format!("{PROPERTIES}.{}", property.replace('_', "."));
            let file = Dict::from([("file".to_owned(), text(value))]);
            Layer::of(place, &key, Value::from(file))
        }
        words => Layer::of(place, &words.join(".").replace('_', "-"), text(value)),
    })
}

/// Kubernetes gives every pod variables for every Service; one that is named `tidemill` or
/// `tidemill-x` must not look like a misspelt setting.
fn is_service_link(rest: &str, value: &str) -> bool {
    let link = |word: &str| rest == word || rest.ends_with(&format!("_{word}"));
    let has = |word: &str| rest.starts_with(word) || rest.contains(&format!("_{word}"));
    link("SERVICE_HOST")
        || link("SERVICE_PORT")
        || has("SERVICE_PORT_")
        || (link("PORT") && value.contains("://"))
        || (has("PORT_") && (rest.contains("_TCP") || rest.contains("_UDP")))
}

/// `dict` without what is unknown or of the wrong shape, which goes to `problems`; nested
/// property names are made plain.
fn known_part(path: &str, dict: Dict, place: &Place, problems: &mut Vec<Problem>) -> Dict {
    let mut known = Dict::new();
    for (name, value) in dict {
        let key = keys::join(path, &name);
        let bad = |value: &Value, expected: &str| Problem::BadValue {
            key: key.clone(),
            place: place.clone(),
            value: shown(&key, Some(value)),
            expected: expected.to_owned(),
        };
        let kept = match (keys::kind(&key), value) {
            (KeyKind::Table, Value::Dict(_, inner)) => {
                Value::from(known_part(&key, inner, place, problems))
            }
            (KeyKind::Properties, Value::Dict(_, inner)) => {
                let mut plain = Dict::new();
                flatten_properties("", inner, &mut plain);
                Value::from(plain)
            }
            (KeyKind::Leaf, value) if value.as_dict().is_none() => value,
            (KeyKind::Leaf, value) => {
                problems.push(bad(&value, "a single value, not a table"));
                continue;
            }
            (KeyKind::Table | KeyKind::Properties, value) => {
                problems.push(bad(&value, "a table"));
                continue;
            }
            (KeyKind::Unknown, _) => {
                let nearest = keys::nearest(&key);
                problems.push(Problem::UnknownKey { key, place: place.clone(), nearest });
                continue;
            }
        };
        known.insert(name, kept);
    }
    known
}

/// TOML reads `sasl.password = "x"` as nested tables; librdkafka's name is the dotted path.
fn flatten_properties(path: &str, dict: Dict, plain: &mut Dict) {
    for (name, value) in dict {
        let key = keys::join(path, &name);
        match value {
            Value::Dict(_, inner) if !(inner.len() == 1 && inner.contains_key("file")) => {
                flatten_properties(&key, inner, plain);
            }
            leaf => {
                plain.insert(key, leaf);
            }
        }
    }
}

/// Reads the merged layers. A value that cannot be read is noted and left out, and the rest is
/// tried again, so that all are found in one go.
fn extract(layers: &mut [Layer], problems: &mut Vec<Problem>) -> Settings {
    loop {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        for layer in &*layers {
            figment = figment.merge(layer);
        }
        let error = match figment.extract_lossy::<Settings>() {
            Ok(settings) => return settings,
            Err(error) => error,
        };
        let segments = segments(&error.path);
        let key = segments.join(".");
        let value = layers.iter().rev().find_map(|layer| find(&layer.dict, &segments));
        problems.push(Problem::BadValue {
            place: place_of(&key, layers),
            value: shown(&key, value),
            expected: keys::expected_form(&key).unwrap_or_else(|| expectation(&error.kind)),
            key,
        });
        let mut removed = false;
        for layer in &mut *layers {
            removed |= remove(&mut layer.dict, &segments);
        }
        if !removed {
            // Only a broken default gets here, and a test loads those.
            return Settings::default();
        }
    }
}

/// The path of an error, where below a property's name no more is told apart.
fn segments(path: &[String]) -> Vec<String> {
    let depth = if path.join(".").starts_with(PROPERTIES) { 3 } else { path.len() };
    path.iter().take(depth).cloned().collect()
}

fn expectation(kind: &Kind) -> String {
    match kind {
        Kind::UnknownVariant(_, known) => {
            let quoted: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
            quoted.join(" or ")
        }
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => expected.clone(),
        other => other.to_string(),
    }
}

/// The value as it would be written, or `(hidden)` where it may be a secret.
fn shown(key: &str, value: Option<&Value>) -> String {
    if key.starts_with(PROPERTIES) {
        return "(hidden)".to_owned();
    }
    value.and_then(|value| serde_json::to_string(value).ok()).unwrap_or_default()
}

/// The place that decides `key`: the last that sets it.
fn place_of(key: &str, layers: &[Layer]) -> Place {
    let prefix = format!("{PROPERTIES}.");
    let segments: Vec<String> = match key.strip_prefix(&prefix) {
        Some(property) => PROPERTIES.split('.').chain([property]).map(str::to_owned).collect(),
        None => key.split('.').map(str::to_owned).collect(),
    };
    let setting = layers.iter().rev().find(|layer| find(&layer.dict, &segments).is_some());
    setting.map_or(Place::Default, |layer| layer.place.clone())
}

fn find<'a>(dict: &'a Dict, segments: &[String]) -> Option<&'a Value> {
    let (first, rest) = segments.split_first()?;
    let value = dict.get(first)?;
    if rest.is_empty() { Some(value) } else { find(value.as_dict()?, rest) }
}

fn remove(dict: &mut Dict, segments: &[String]) -> bool {
    match segments {
        [] => false,
        [key] => dict.remove(key).is_some(),
        [key, rest @ ..] => match dict.get_mut(key) {
            Some(Value::Dict(_, inner)) => remove(inner, rest),
            _ => false,
        },
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
