//! Which topologies a binary has: the shipped ones by name, or a user's own.

use crate::{
    error::{Error, ErrorKind},
    topologies::MakeTopology,
    topology::Topology,
};

/// The topologies of a binary.
#[derive(Debug)]
pub enum Catalog {
    /// Several by name; a command names the one that it means.
    Shipped(Vec<(&'static str, MakeTopology)>),
    /// The only one; a command need not name it.
    Own(Box<Topology>),
}

impl Catalog {
    /// The names, for help and errors.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Shipped(all) => all.iter().map(|(name, _)| *name).collect(),
            Self::Own(topology) => vec![&topology.name],
        }
    }

    /// The topology of that name; without one, the only one.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: no such name, none given though there are several, or the topology
    /// itself is wrong.
    pub fn find(&self, name: Option<&str>) -> Result<Topology, Error> {
        let invalid = |message: String| Error::new(ErrorKind::Invalid, message);
        let known = self.names().join(", ");
        match (self, name) {
            (Self::Own(topology), None) => Ok((**topology).clone()),
            (Self::Own(topology), Some(name)) if topology.name == name => Ok((**topology).clone()),
            (Self::Shipped(all), Some(name)) => {
                let (_, build) = all
                    .iter()
                    .find(|(known, _)| *known == name)
                    .ok_or_else(|| invalid(self.unknown(name, &known)))?;
                build().map_err(|reason| invalid(format!("topology {name}: {reason}")))
            }
            (Self::Own(_), Some(name)) => Err(invalid(self.unknown(name, &known))),
            (Self::Shipped(_), None) => {
                Err(invalid(format!("which topology? this binary has {known}")))
            }
        }
    }

    /// Those of the names; without names, the only one. Errors as [`Catalog::find`].
    pub fn find_all(&self, names: &[String]) -> Result<Vec<Topology>, Error> {
        if names.is_empty() {
            return Ok(vec![self.find(None)?]);
        }
        names.iter().map(|name| self.find(Some(name))).collect()
    }

    fn unknown(&self, name: &str, known: &str) -> String {
        let near = self
            .names()
            .into_iter()
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .min()
            .filter(|(distance, _)| *distance <= 3)
            .map(|(_, known)| format!("; did you mean {known}?"))
            .unwrap_or_default();
        format!("there is no topology {name} in this binary, which has {known}{near}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::TopologyError;

    #[expect(clippy::unnecessary_wraps, reason = "the signature of a shipped topology")]
    fn words() -> Result<Topology, TopologyError> {
        Ok(Topology { name: "word-count".to_owned(), subtopologies: vec![] })
    }

    fn broken() -> Result<Topology, TopologyError> {
        Err(TopologyError::NoSource)
    }

    fn message(result: Result<Topology, Error>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    }

    #[test]
    fn shipped_topologies_are_found_by_name_and_misspellings_are_named() {
        let catalog = Catalog::Shipped(vec![("broken", broken), ("word-count", words)]);
        assert_eq!(catalog.find(Some("word-count")).unwrap().name, "word-count");
        assert_eq!(
            message(catalog.find(Some("wordcount"))),
            "there is no topology wordcount in this binary, which has broken, word-count; did \
             you mean word-count?"
        );
        assert_eq!(
            message(catalog.find(None)),
            "which topology? this binary has broken, word-count"
        );
        let broken = message(catalog.find(Some("broken")));
        assert!(broken.starts_with("topology broken: the topology has no source"), "{broken}");
    }

    #[test]
    fn a_binary_with_one_topology_needs_no_name() {
        let catalog = Catalog::Own(Box::new(words().unwrap()));
        assert_eq!(catalog.find(None).unwrap().name, "word-count");
        assert_eq!(catalog.find(Some("word-count")).unwrap().name, "word-count");
        assert!(message(catalog.find(Some("ledger"))).contains("no topology ledger"));
        assert_eq!(catalog.find_all(&[]).unwrap().len(), 1);
    }
}
