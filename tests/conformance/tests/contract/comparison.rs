//! `docs/comparison.md` says of every row which test shows it: they are there.

use std::fs;
use std::path::{Path, PathBuf};

/// Sources that hold tests, without what was built.
fn sources(below: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            sources(&path, all);
        } else if name.ends_with(".rs") || name.ends_with(".go") {
            all.push(path);
        }
    }
}

#[test]
fn every_row_of_the_comparison_is_shown_by_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut all = Vec::new();
    for part in ["host", "guests", "tests"] {
        sources(&root.join(part), &mut all);
    }
    let text: String = all.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let table = fs::read_to_string(root.join("docs/comparison.md")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 25, "{}", rows.len());
    for row in rows {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).filter(|name| !name.starts_with("just ")).collect();
        assert!(!names.is_empty() || shown.contains("`just "), "no test: {row}");
        for name in names {
            let there = text.contains(&format!("fn {name}(")) || text.contains(&format!("func {name}("));
            assert!(there, "no test is called {name}: {row}");
        }
    }
}
