//! The changelog's format: what is read, what is refused, what a topic must be.

use proptest::prelude::*;

use super::*;
use crate::{
    record::{Offset, Timestamp},
    state::{EpochId, SourcePosition},
};

fn marker() -> EpochMarker {
    EpochMarker {
        id: EpochId { epoch: 7, incarnation: u64::MAX },
        sources: vec![SourcePosition {
            topic: "transfers".to_owned(),
            topic_id: "00ff".to_owned(),
            partitions: 8,
            next: Offset(42),
        }],
        watermark: Some(Timestamp(-5)),
    }
}

#[test]
fn a_marker_comes_back_as_it_was() {
    let (key, value) = marker_record(&marker()).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&value),
        r#"{"v":1,"epoch":7,"incarnation":18446744073709551615,"sources":[{"topic":"transfers","topic_id":"00ff","partitions":8,"next":42}],"watermark":-5}"#
    );
    assert_eq!(parse(Some(key), Some(&value)), Ok(ChangelogRecord::Marker(marker())));
    let without = EpochMarker { watermark: None, sources: vec![], ..marker() };
    let (key, value) = marker_record(&without).unwrap();
    assert_eq!(parse(Some(key), Some(&value)), Ok(ChangelogRecord::Marker(without)));
}

#[test]
fn a_catalogue_is_read_and_is_a_change_of_the_byte_store() {
    let mut catalogue = StoreCatalogue::default();
    catalogue.allocate("a/b").unwrap();
    let value = catalogue.encode().unwrap();
    let record = parse(Some(CATALOGUE_KEY), Some(&value)).unwrap();
    assert_eq!(record, ChangelogRecord::Catalogue { catalogue, value: &value });
    assert_eq!(record.change(), Some((CATALOGUE_KEY, Some(&value[..]))));
}

#[test]
fn an_entry_is_a_change_and_a_marker_is_none() {
    let key = [0, 1, 0, 0, b'k', 0, 0];
    let entry = parse(Some(&key), Some(&[1, 9])).unwrap();
    assert_eq!(entry.change(), Some((&key[..], Some(&[1, 9][..]))));
    assert_eq!(parse(Some(&key), None).unwrap().change(), Some((&key[..], None)));
    assert_eq!(ChangelogRecord::Marker(marker()).change(), None);
}

#[test]
fn what_a_newer_version_wrote_is_refused_by_name() {
    let marker = parse(Some(MARKER_KEY), Some(br#"{"v":2,"new":1}"#)).unwrap_err();
    assert_eq!(marker, ChangelogError::NewerMarker { found: 2 });
    assert!(marker.to_string().contains("use a newer one"), "{marker}");

    let value = parse(Some(&[0, 1, 0, 0, 0, 0]), Some(&[2, 9])).unwrap_err();
    assert_eq!(value, ChangelogError::Value(ValueError::Version { found: 2 }));
    assert!(value.to_string().contains("use a newer one"), "{value}");

    let catalogue = parse(Some(CATALOGUE_KEY), Some(br#"{"v":9}"#)).unwrap_err();
    assert_eq!(catalogue, ChangelogError::Catalogue(CatalogueError::Newer { found: 9 }));

    let reserved = parse(Some(b"\0\0\0\0future"), Some(b"x")).unwrap_err();
    assert_eq!(reserved, ChangelogError::Reserved { key: "future".to_owned() });
}

#[test]
fn what_no_tidemill_wrote_is_refused() {
    assert_eq!(parse(None, Some(b"x")), Err(ChangelogError::NoKey));
    assert_eq!(parse(Some(b"k"), Some(b"x")), Err(ChangelogError::NoKey));
    assert_eq!(
        parse(Some(MARKER_KEY), None),
        Err(ChangelogError::Deleted { what: "epoch marker" })
    );
    assert_eq!(
        parse(Some(CATALOGUE_KEY), None),
        Err(ChangelogError::Deleted { what: "store catalogue" })
    );
    let empty = parse(Some(&[0, 1, 0, 0, 0, 0]), Some(&[]));
    assert_eq!(empty, Err(ChangelogError::Value(ValueError::Empty)));
    let damaged = parse(Some(MARKER_KEY), Some(br#"{"v":1,"epoch":1}"#));
    assert!(matches!(damaged, Err(ChangelogError::Marker { .. })), "{damaged:?}");
}

#[test]
fn the_topic_that_is_created_fulfils_what_is_checked() {
    for brokers in [1, 2, 3, 5] {
        let config = changelog_config(brokers);
        assert_eq!(
            changelog_violations(brokers, changelog_replication(brokers), &config),
            Vec::<String>::new()
        );
    }
    assert_eq!(changelog_replication(3), 3);
    assert_eq!(changelog_config(3).get("min.insync.replicas").unwrap(), "2");
    assert_eq!(changelog_replication(1), 1);
}

#[test]
fn each_wrong_setting_of_an_existing_topic_is_named() {
    let mut config = changelog_config(3);
    config.insert("cleanup.policy".to_owned(), "compact,delete".to_owned());
    config.insert("delete.retention.ms".to_owned(), "1000".to_owned());
    config.insert("min.insync.replicas".to_owned(), "1".to_owned());
    let wrong = changelog_violations(3, 1, &config);
    assert_eq!(wrong.len(), 4, "{wrong:?}");
    for (sentence, part) in wrong.iter().zip([
        "\"compact,delete\"",
        "delete.retention.ms is 1000",
        "replication factor is 1",
        "min.insync.replicas is 1",
    ]) {
        assert!(sentence.contains(part), "{sentence}");
    }
    // With a single broker neither replication nor min.insync.replicas can be asked for.
    assert_eq!(changelog_violations(1, 1, &config).len(), 2);
    assert_eq!(changelog_violations(1, 1, &BTreeMap::new()).len(), 2);
}

proptest! {
    #[test]
    fn any_record_is_read_or_refused(
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..12)),
        reserved in proptest::bool::ANY,
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..12)),
    ) {
        let key = if reserved { Some(MARKER_KEY.to_vec()) } else { key };
        if let Ok(ChangelogRecord::Entry { key: read, .. }) = parse(key.as_deref(), value.as_deref()) {
            prop_assert_eq!(Some(read), key.as_deref());
        }
    }
}
