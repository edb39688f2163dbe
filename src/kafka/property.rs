//! A value that may be a secret: given in place or as a file, and never shown.
//!
//! `Debug` and `Serialize` hide it, so that no log, error or dump can hold it by accident.

use std::{fmt, fs, io, path::PathBuf};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};

/// The value of a librdkafka property.
#[derive(Clone, PartialEq, Eq)]
pub enum PropertyValue {
    /// As written in the settings.
    Inline(String),
    /// The content of a file, without its trailing line ends.
    File(PathBuf),
}

impl PropertyValue {
    /// The value itself; reads the file where it is one.
    ///
    /// # Errors
    /// The file cannot be read, or is not UTF-8.
    pub fn reveal(&self) -> io::Result<String> {
        match self {
            Self::Inline(value) => Ok(value.clone()),
            Self::File(path) => {
                fs::read_to_string(path).map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
            }
        }
    }
}

impl From<&str> for PropertyValue {
    fn from(value: &str) -> Self {
        Self::Inline(value.to_owned())
    }
}

impl fmt::Debug for PropertyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("(hidden)"),
            Self::File(path) => write!(f, "(content of {})", path.display()),
        }
    }
}

impl Serialize for PropertyValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for PropertyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PropertyVisitor)
    }
}

struct PropertyVisitor;

impl<'de> Visitor<'de> for PropertyVisitor {
    type Value = PropertyValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false, or { file = \"/path\" }")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(PropertyValue::Inline(value.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(PropertyValue::Inline(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(PropertyValue::Inline(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(PropertyValue::Inline(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(PropertyValue::Inline(value.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut file = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "file" {
                return Err(de::Error::custom("only { file = \"/path\" } is known here"));
            }
            file = Some(map.next_value::<PathBuf>()?);
        }
        file.map(PropertyValue::File).ok_or_else(|| de::Error::missing_field("file"))
    }
}
