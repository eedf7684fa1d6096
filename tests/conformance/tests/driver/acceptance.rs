//! The table of the acceptance list in the documentation.

use std::path::Path;

#[test]
fn the_table_of_the_acceptance_list_is_that_of_the_tests() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = here.join("../../docs/acceptance.md");
    let table = yurt_conformance::acceptance::table(&here.join("tests/driver"));
    if std::env::var_os("YURT_WRITE").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == table, "docs/acceptance.md is stale: YURT_WRITE=1 makes it anew");
}
