//! Compares pages in `docs/` with what the code says (tests only).

use std::{env, fs, path::Path};

/// Fails unless the page is exactly `content`. With `TIDEMILL_BLESS=1` it writes the page.
pub(crate) fn assert_page(page: &str, content: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    if env::var_os("TIDEMILL_BLESS").is_some() {
        fs::write(&path, content).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == content, "{page} is out of date: run the test with TIDEMILL_BLESS=1");
}
