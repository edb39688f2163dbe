//! Words of a text counted directly: what the topology's counts are compared with.
//!
//! Must never use the topology's code, or it would repeat its mistakes.

use std::collections::BTreeMap;

/// How often each word occurs. A word is a longest run of letters, in lower case.
pub(crate) fn count(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut word = String::new();
    // A blank behind the end closes the last word.
    for letter in text.chars().chain([' ']) {
        if letter.is_alphabetic() {
            word.push(letter);
        } else if !word.is_empty() {
            *counts.entry(word.to_lowercase()).or_default() += 1;
            word.clear();
        }
    }
    counts
}

/// What is wrong with the output compared with the counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Occurrences that no output record counted.
    pub(crate) lost: u64,
    /// Output records that count an occurrence again, or one that there is not.
    pub(crate) duplicated: u64,
}

/// Compares every output record: for each word they must be 1, 2, ... up to its count, once each.
pub(crate) fn compare(
    expected: &BTreeMap<String, u64>,
    outputs: &BTreeMap<String, Vec<u64>>,
) -> Verdict {
    let mut verdict = Verdict::default();
    for (word, counts) in outputs {
        let expected = expected.get(word).copied().unwrap_or(0);
        let mut sorted = counts.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let right = sorted.iter().filter(|count| (1..=expected).contains(*count)).count() as u64;
        verdict.duplicated += counts.len() as u64 - right;
        verdict.lost += expected - right;
        // All there, but not in their order: an older count was written after a newer one.
        if counts.len() as u64 == expected && right == expected && !counts.is_sorted() {
            verdict.duplicated += 1;
        }
    }
    let missing = expected.iter().filter(|(word, _)| !outputs.contains_key(*word));
    verdict.lost += missing.map(|(_, count)| count).sum::<u64>();
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(all: &[(&str, &[u64])]) -> BTreeMap<String, Vec<u64>> {
        all.iter().map(|(word, counts)| ((*word).to_owned(), counts.to_vec())).collect()
    }

    #[test]
    fn words_are_runs_of_letters_in_lower_case() {
        let counts = count("The mill's WHEEL, the_tide: 42 über Über");
        let found: Vec<_> = counts.iter().map(|(word, n)| (word.as_str(), *n)).collect();
        let expected = [("mill", 1), ("s", 1), ("the", 2), ("tide", 1), ("wheel", 1), ("über", 2)];
        assert_eq!(found, expected);
    }

    #[test]
    fn complete_counts_pass_and_each_deviation_is_counted() {
        let expected = count("a b a");
        let check = |all: &[(&str, &[u64])]| compare(&expected, &outputs(all));
        assert_eq!(check(&[("a", &[1, 2]), ("b", &[1])]), Verdict::default());
        assert_eq!(check(&[("a", &[1]), ("b", &[1])]), Verdict { lost: 1, duplicated: 0 });
        assert_eq!(check(&[("a", &[1, 2])]), Verdict { lost: 1, duplicated: 0 });
        assert_eq!(check(&[("a", &[1, 2, 2]), ("b", &[1])]), Verdict { lost: 0, duplicated: 1 });
        assert_eq!(check(&[("a", &[1, 2, 3]), ("b", &[1])]), Verdict { lost: 0, duplicated: 1 });
        assert_eq!(check(&[("a", &[2, 1]), ("b", &[1])]), Verdict { lost: 0, duplicated: 1 });
        let foreign = check(&[("a", &[1, 2]), ("b", &[1]), ("c", &[1])]);
        assert_eq!(foreign, Verdict { lost: 0, duplicated: 1 });
    }
}
