//! The rules of overlapping epochs as the brokers see them (EOS-3, EOS-6): what breaks one is a
//! violation, whatever comes of it.
//!
//! An instance's two transactional ids differ in their last letter only. Of two open transactions
//! of one owner the one that was opened first is the older epoch's.

use std::rc::Rc;

use crate::{
    record::TopicPartition,
    runtime::Lane,
    testing::{
        client::ClientId,
        cluster::Cluster,
        transactions::{MarkerTarget, State},
    },
};

/// The other id of the same owner.
fn sibling(id: &str) -> Option<Rc<str>> {
    let base = id.strip_suffix(".a").map(|base| (base, 'b'));
    let (base, letter) = base.or_else(|| id.strip_suffix(".b").map(|base| (base, 'a')))?;
    Some(format!("{base}.{letter}").into())
}

impl Cluster {
    /// When the owner's other transaction was opened, if it is open and older than this id's.
    fn older_sibling(&self, id: &Rc<str>) -> Option<Rc<str>> {
        let sibling = sibling(id)?;
        let other = self.coordinator.transactions.get(&sibling)?;
        let own = self.coordinator.transactions.get(id)?;
        let opened = if own.state == State::Ongoing { own.opened } else { u64::MAX };
        // What a process that died has left open is nobody's older epoch.
        let one_process = own.state != State::Ongoing || own.client == other.client;
        (one_process && other.state == State::Ongoing && other.opened < opened).then_some(sibling)
    }

    /// Rule 1: the younger epoch sends nothing before the older one's records are acknowledged.
    pub(super) fn watch_produce(&mut self, client: ClientId, id: &Rc<str>, at: &TopicPartition) {
        if !self.settings.watch_epochs {
            return;
        }
        let Some(older) = self.older_sibling(id) else { return };
        let lane = if older.ends_with(".a") { Lane::A } else { Lane::B };
        if self.clients.get(&client).is_some_and(|c| !c.lane(lane).is_drained()) {
            self.violation(format!(
                "EOS-6: {id} writes to {at} before the older {older} is acknowledged"
            ));
        }
    }

    /// Rule 2, first half: no offsets before the older epoch is committed.
    pub(super) fn watch_offsets(&mut self, id: &Rc<str>) {
        // Of a request that was held back only the effect counts.
        if self.settings.watch_epochs
            && !self.links.releasing
            && let Some(older) = self.older_sibling(id)
        {
            self.violation(format!("EOS-6: {id} sends offsets before the older {older} commits"));
        }
    }

    /// Rule 2, second half, rule 3 and rule 4: what a commit must not do.
    pub(super) fn watch_commit(&mut self, id: &Rc<str>) {
        if !self.settings.watch_epochs {
            return;
        }
        let Some(transaction) = self.coordinator.transactions.get(id) else { return };
        if transaction.state != State::Ongoing {
            return;
        }
        let offsets = |target: &MarkerTarget| matches!(target, MarkerTarget::GroupOffsets(_));
        let without_offsets = !transaction.targets.iter().any(offsets);
        let orphaned = transaction.falls;
        if without_offsets {
            self.violation(format!("EOS-3: {id} commits without offsets"));
        }
        if orphaned {
            self.violation(format!("EOS-6: {id} commits, though the older epoch was aborted"));
        }
        if let Some(older) = self.older_sibling(id) {
            self.violation(format!("EOS-6: {id} commits before the older {older}"));
        }
    }

    /// A transaction is aborted: an open younger one of the same owner must fall with it.
    pub(super) fn watch_abort(&mut self, id: &Rc<str>) {
        let Some(sibling) = sibling(id) else { return };
        let Some(own) = self.coordinator.transactions.get(id) else { return };
        let (opened, client) = (own.opened, own.client);
        if let Some(other) = self.coordinator.transactions.get_mut(&sibling)
            && other.state == State::Ongoing
            && other.opened > opened
            && other.client == client
        {
            other.falls = true;
        }
    }
}
