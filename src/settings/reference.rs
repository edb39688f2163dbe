//! `docs/SETTINGS.md`, made from `default.toml`; a test compares them.

use std::fmt::Write;

use crate::settings::{keys, load::DEFAULTS};

/// One setting as the reference shows it.
struct Entry {
    key: String,
    default: Option<String>,
    help: String,
}

fn entries() -> Vec<Entry> {
    let (mut section, mut help, mut entries) = (String::new(), String::new(), Vec::new());
    for line in DEFAULTS.lines() {
        if line.trim().is_empty() {
            help.clear();
        } else if let Some(comment) = line.strip_prefix("# ") {
            help = format!("{help} {comment}");
        } else if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
            if section == keys::PROPERTIES {
                let help = help.trim().to_owned();
                entries.push(Entry { key: section.clone(), default: None, help });
            }
            help.clear();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let optional = key.starts_with('#');
            entries.push(Entry {
                key: keys::join(&section, key.trim_start_matches('#')),
                default: (!optional).then(|| value.to_owned()),
                help: std::mem::take(&mut help).trim().to_owned(),
            });
        }
    }
    entries
}

/// The page.
fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Made from `src/settings/default.toml`; a test compares them.\n\n\
         Settings come from the defaults, then a file (`--config FILE`, else `./tidemill.toml`),\n\
         then `TIDEMILL_*` environment variables, then flags; the later overrules.\n\
         Every key can be set by `--set KEY=VALUE`; a few have a flag of their own.\n\
         Unknown keys are errors.\n\n\
         | key | default | environment variable | meaning |\n|---|---|---|---|\n",
    );
    for Entry { key, default, help } in entries() {
        let variable = key.replace('.', "__").replace('-', "_").to_uppercase();
        let name = if key == keys::PROPERTIES { "__SASL_USERNAME" } else { "" };
        let default = default.map(|value| format!("`{value}`")).unwrap_or_default();
        writeln!(page, "| `{key}` | {default} | `TIDEMILL_{variable}{name}` | {help} |").unwrap();
    }
    page.push_str(
        "\nFlags of their own: `--bootstrap-servers`, `--application-id`, `--instance-id`, \
         `--state-dir`, `--http`.\n\n\
         A librdkafka property is set as `kafka.properties.<name>`.\n\
         As a variable its dots are underscores, and `__FILE` behind it names a file that holds \
         the value:\n`TIDEMILL_KAFKA__PROPERTIES__SASL_PASSWORD__FILE=/run/secrets/password`.\n\
         Values of properties never appear in logs, metrics or errors.\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_what_the_default_file_says() {
        crate::ops::documents::assert_page("docs/SETTINGS.md", &reference());
    }

    #[test]
    fn every_setting_is_documented_in_the_default_file_once() {
        let mut documented: Vec<String> = entries().into_iter().map(|entry| entry.key).collect();
        documented.sort();
        let known: Vec<String> = keys::all().map(str::to_owned).collect();
        assert_eq!(documented, known);
        let silent: Vec<String> =
            entries().into_iter().filter(|e| e.help.is_empty()).map(|e| e.key).collect();
        assert!(silent.is_empty(), "without a comment: {silent:?}");
    }
}
