//! An overlay against a sorted map, and what it tells against what it holds.

use proptest::prelude::*;

use super::*;

/// What the allocator gives for so many bytes: a header, in steps of 16.
fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { ((bytes + 8).next_multiple_of(16)).max(32) }
}

/// What is truly held: the capacities of all lists, and what a spill takes to sort; a tree has
/// nodes of 11 entries, half full at worst.
fn held(overlay: &Overlay) -> usize {
    let (tree_node, tree_fill) = (11 * size_of::<(Box<[u8]>, u32)>() + 12, 6);
    let order = overlay.order.get().map_or(0, |order| {
        let keys: usize = order.keys().map(|key| allocated(key.len())).sum();
        keys + order.len().div_ceil(tree_fill) * allocated(tree_node)
    });
    allocated(overlay.arena.capacity())
        + allocated(overlay.places.capacity() * size_of::<Place>())
        + allocated(overlay.table.allocation_size())
        + allocated(overlay.table.len() * size_of::<([u64; 2], &Place)>())
        + order
}

/// Keys and values, at least.
fn payload(overlay: &Overlay) -> usize {
    overlay.iter().map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum()
}

fn assert_accounted(overlay: &Overlay, what: &str) {
    // What is small is rounded up by more than a share: five allocations, two nodes of a tree.
    let (told, held) = (overlay.bytes(), held(overlay).saturating_sub(5 * 32 + 2 * 256));
    assert!(told * 100 >= held * 85, "{what}: {told} told, {held} held");
    assert!(told >= payload(overlay), "{what}: {told} told, {} stored", payload(overlay));
    assert_eq!(told == 0, overlay.is_empty(), "{what}");
}

/// An overlay of `count` keys of 16 bytes, of which every third is changed again, every fifth
/// forgotten.
fn filled(count: u64, value_bytes: usize, scanned: bool) -> Overlay {
    let mut overlay = Overlay::default();
    let key = |number: u64| u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let value = vec![7; value_bytes];
    for number in 0..count {
        overlay.set(&key(number), Some([&[1], &value]));
        if scanned && number == count / 2 {
            assert!(overlay.range(b"", None).count() > 0);
        }
        if number % 3 == 0 {
            overlay.set(&key(number), Some([&[1, 1], &value]));
        }
        if number % 5 == 0 {
            overlay.forget(&key(number));
        }
    }
    overlay
}

#[test]
fn what_is_told_is_never_far_below_what_is_held() {
    for count in [2, 10, 100, 5_000, 70_000] {
        for (value_bytes, scanned) in [(0, false), (8, true), (100, false), (1_000, true)] {
            if count * (value_bytes as u64) < 10_000_000 {
                let overlay = filled(count, value_bytes, scanned);
                assert_accounted(&overlay, &format!("{count} of {value_bytes}, {scanned}"));
            }
        }
    }
}

#[test]
fn the_estimate_of_an_entry_is_what_it_comes_to() {
    for count in [1_000, 10_000, 57_345, 100_000] {
        let mut overlay = Overlay::default();
        for number in 0..count {
            overlay.set(&u64::to_be_bytes(number), Some([&[1], &[2; 7]]));
        }
        let estimate = count as usize * (ENTRY_OVERHEAD + 16);
        let told = overlay.bytes();
        assert!(estimate * 100 >= told * 85, "{count}: {estimate} of {told}");
        assert!(estimate * 100 <= told * 130, "{count}: {estimate} of {told}");
    }
}

#[test]
fn values_are_those_that_were_set_last() {
    let mut overlay = Overlay::default();
    overlay.set(b"a", Some([b"1", b"22"]));
    overlay.set(b"a", Some([b"3", b"44"]));
    assert_eq!(overlay.get(b"a"), Some(Some(b"344".as_slice())));
    overlay.set(b"a", Some([b"", b"longer"]));
    overlay.set(b"b", Some([b"1", b"2"]));
    overlay.set(b"b", None);
    overlay.set(b"c", None);
    let mut younger = Overlay::default();
    younger.set(b"b", Some([b"x", b"yz"]));
    younger.set(b"d", Some([b"x", b"yz"]));
    overlay.absorb(younger);
    overlay.forget(b"a");
    overlay.forget(b"never");
    assert_eq!(overlay.get(b"b"), Some(Some(b"xyz".as_slice())));
    assert_eq!(overlay.get(b"a"), None);
    assert!(!overlay.is_empty() && Overlay::default().is_empty());
}

#[test]
fn what_forgot_its_last_change_holds_nothing() {
    let mut overlay = Overlay::default();
    overlay.set(b"timer", Some([b"1", b""]));
    overlay.forget(b"timer");
    assert!(overlay.is_empty());
    assert_eq!(overlay.bytes(), 0, "an empty overlay is never spilled: its bytes would stay");

    let mut committed = Overlay::default();
    committed.absorb(overlay);
    assert_eq!(committed.bytes(), 0);
}

#[test]
fn order_is_made_where_it_is_asked_for() {
    let mut overlay = Overlay::default();
    for key in [b"c".as_slice(), b"a", b"b", b"a\0", b"0123456789abcdefg", b"0123456789abcdef"] {
        overlay.set(key, Some([b"", key]));
    }
    overlay.forget(b"b");
    let keys = |found: Vec<(&[u8], Option<&[u8]>)>| -> Vec<Vec<u8>> {
        found.iter().map(|(key, _)| key.to_vec()).collect()
    };
    let sorted = keys(overlay.sorted().collect());
    assert_eq!(sorted, [&b"0123456789abcdef"[..], b"0123456789abcdefg", b"a", b"a\0", b"c"]);
    assert_eq!(keys(overlay.range(b"", None).collect()), sorted);
    assert_eq!(keys(overlay.iter().collect())[..2], [b"c".to_vec(), b"a".to_vec()]);
}

#[derive(Debug, Clone)]
enum Step {
    Set(u8, Option<Vec<u8>>),
    Forget(u8),
    Scan(u8, u8),
    Absorb(Vec<(u8, Option<Vec<u8>>)>),
}

fn step() -> impl Strategy<Value = Step> {
    // Values of up to 20 kB: the arena is written anew now and then.
    let value = || {
        proptest::option::of((any::<u8>(), 0..20_000_usize))
            .prop_map(|value| value.map(|(byte, size)| vec![byte; size]))
    };
    prop_oneof![
        6 => (0..12_u8, value()).prop_map(|(key, value)| Step::Set(key, value)),
        1 => (0..12_u8).prop_map(Step::Forget),
        1 => (0..12_u8, 0..12_u8).prop_map(|(from, to)| Step::Scan(from, to)),
        1 => proptest::collection::vec((0..12_u8, value()), 0..6).prop_map(Step::Absorb),
    ]
}

fn change(overlay: &mut Overlay, key: u8, value: Option<&Vec<u8>>) {
    overlay.set(&[key], value.map(|value| value.split_at(value.len() / 3)).map(Into::into));
}

proptest! {
    #[test]
    fn it_is_a_sorted_map_whatever_is_done(steps in proptest::collection::vec(step(), 0..80)) {
        let (mut overlay, mut model) = (Overlay::default(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Set(key, value) => {
                    change(&mut overlay, key, value.as_ref());
                    model.insert(vec![key], value);
                }
                Step::Forget(key) => {
                    overlay.forget(&[key]);
                    model.remove([key].as_slice());
                }
                Step::Scan(from, to) => {
                    let bounds = ([from], [to]);
                    let found: Vec<_> = overlay.range(&bounds.0, Some(&bounds.1)).collect();
                    let expected: Vec<_> = model
                        .iter()
                        .filter(|(key, _)| key[0] >= from && key[0] < to)
                        .map(|(key, value)| (&key[..], value.as_deref()))
                        .collect();
                    prop_assert_eq!(found, expected);
                }
                Step::Absorb(changes) => {
                    let mut younger = Overlay::default();
                    for (key, value) in changes {
                        change(&mut younger, key, value.as_ref());
                        model.insert(vec![key], value);
                    }
                    overlay.absorb(younger);
                }
            }
            let expected = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
                (key.clone(), value.clone())
            };
            let found: Vec<_> = overlay
                .sorted()
                .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
                .collect();
            prop_assert_eq!(found, model.iter().map(expected).collect::<Vec<_>>());
            assert_accounted(&overlay, "after a step");
            prop_assert!(overlay.waste <= WASTE_MIN.max(overlay.arena.len()));
            for key in 0..12 {
                let found = overlay.get(&[key]).map(|value| value.map(<[u8]>::to_vec));
                prop_assert_eq!(found, model.get([key].as_slice()).cloned());
            }
        }
    }
}

#[test]
fn a_range_whose_bounds_are_out_of_order_is_empty() {
    let mut overlay = Overlay::default();
    overlay.set(b"b", Some([b"", b""]));
    assert_eq!(overlay.range(b"c", Some(b"a")).count(), 0);
    assert_eq!(overlay.range(b"b", Some(b"b")).count(), 0);
    assert_eq!(overlay.range(b"b", None).count(), 1);
}
