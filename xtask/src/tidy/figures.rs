//! Dashboards and alert rules name only figures that a process shows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context;

use super::sources;

/// What every figure's name begins with.
const PREFIXES: [&str; 4] = ["ficus_proxy_", "ficus_control_", "ficus_cdc_", "ficus_service_"];

/// What a histogram appends to its name.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Every name under `deploy` that no source file declares.
pub(super) fn violations(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut declared = BTreeSet::new();
    for file in sources::files(root)? {
        if file.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(root.join(&file))
                .with_context(|| format!("read {}", file.display()))?;
            declared.extend(literals(&text));
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root.join("deploy")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path).with_context(|| format!("list {}", path.display()))? {
                open.push(entry.context("list a directory")?.path());
            }
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display();
        found.extend(
            undeclared(&text, &declared)
                .into_iter()
                .map(|name| format!("{shown}: no process shows a figure {name}")),
        );
    }
    Ok(found)
}

/// Names that stand alone between quotes.
fn literals(source: &str) -> BTreeSet<String> {
    let quoted = source.split('"').filter(|text| names(text).iter().any(|name| name == text));
    quoted.map(str::to_owned).collect()
}

fn undeclared(text: &str, declared: &BTreeSet<String>) -> BTreeSet<String> {
    let is_declared = |name: &String| {
        declared.contains(name)
            || PARTS
                .iter()
                .any(|part| name.strip_suffix(part).is_some_and(|whole| declared.contains(whole)))
    };
    names(text).into_iter().filter(|name| !is_declared(name)).collect()
}

/// Everything that looks like the name of a figure.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix)))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nothing_declares_is_found_and_the_parts_of_a_histogram_are_not() {
        let source =
            "gauge(\"ficus_cdc_lag_bytes\", \"the lag\"); histogram(\"ficus_cdc_batch_rows\")";
        let declared = literals(source);
        let good = "rate(ficus_cdc_batch_rows_bucket[1m]) + ficus_cdc_lag_bytes{stream=\"x\"}";
        assert!(undeclared(good, &declared).is_empty());
        let bad = undeclared("ficus_cdc_lag_byte > 1", &declared);
        assert_eq!(bad.into_iter().collect::<Vec<_>>(), ["ficus_cdc_lag_byte"]);
    }
}
