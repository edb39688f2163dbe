//! Clients that a broker does not hear, and who do not hear it. Pure.

/// A client's way to a broker that is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    /// The broker's own address; `None`: all brokers.
    pub(super) broker: Option<String>,
    /// Clients whose id contains this.
    pub(super) client: String,
}

/// The cuts that there are now.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    now: Vec<Cut>,
}

impl Cuts {
    pub(super) fn add(&mut self, cut: Cut) {
        self.now.push(cut);
    }

    pub(super) fn heal(&mut self) {
        self.now.clear();
    }

    /// Whether what `client` and `broker` say to each other is lost.
    pub(super) fn between(&self, client: &str, broker: &str) -> bool {
        self.now.iter().any(|cut| {
            cut.broker.as_ref().is_none_or(|cut| cut == broker) && client.contains(&cut.client)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_between_one_client_and_one_broker_until_it_heals() {
        let mut cuts = Cuts::default();
        cuts.add(Cut { broker: Some("b:1".to_owned()), client: ".i1.".to_owned() });
        assert!(cuts.between("app.i1.0.consumer", "b:1"));
        assert!(!cuts.between("app.i2.0.consumer", "b:1"));
        assert!(!cuts.between("app.i1.0.consumer", "b:2"));
        cuts.add(Cut { broker: None, client: ".i2.".to_owned() });
        assert!(cuts.between("app.i2.0.wire", "b:2"));
        cuts.heal();
        assert!(!cuts.between("app.i1.0.consumer", "b:1"));
    }
}
