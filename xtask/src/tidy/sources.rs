//! Rules about files: sizes, headers, names, words that mean "not finished".

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Longest source file, in lines.
const LINES_MAX: usize = 600;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] =
    ["utils", "util", "common", "helpers", "helper", "types", "misc", "mod"];

/// Extensions of the files that people write.
const TEXTS: [&str; 7] = ["rs", "toml", "sql", "proto", "sh", "md", "py"];

/// Marks of unfinished work; put together here, so that this file does not contain them.
const MARKS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!"), concat!("#[", "ignore")];

/// Every text file of the repository, relative to its root. Build output and hidden directories
/// are left out, except `.ci`.
pub(super) fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(dir) = open.pop() {
        let listed = root.join(&dir);
        let entries =
            fs::read_dir(&listed).with_context(|| format!("list {}", listed.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", listed.display()))?;
            let name = entry.file_name();
            let path = dir.join(&name);
            let kind = entry.file_type().context("read a file's type")?;
            let hidden = name.to_string_lossy().starts_with('.') && name != ".ci";
            if kind.is_dir() && !hidden && name != "target" && name != "node_modules" {
                open.push(path);
            } else if kind.is_file() && is_text(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What is wrong with one file; `path` is relative to the root.
pub(super) fn violations(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(mark) = MARKS.into_iter().find(|mark| line.contains(mark)) {
            found.push(format!("{shown}:{}: contains {mark}", number + 1));
        }
    }
    if path.extension().is_none_or(|extension| extension != "rs") {
        return found;
    }
    if !text.starts_with("//!") {
        found.push(format!("{shown}: does not begin with `//!` (what is it, in one sentence?)"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found.push(format!("{shown}: {lines} lines, at most {LINES_MAX} (split it by concept)"));
    }
    let empty_name = path
        .iter()
        .filter_map(|part| Path::new(part).file_stem())
        .find(|part| EMPTY_NAMES.iter().any(|name| part.eq_ignore_ascii_case(name)));
    if let Some(name) = empty_name {
        found.push(format!("{shown}: the name `{}` says nothing", name.to_string_lossy()));
    }
    found
}

fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|found| TEXTS.iter().any(|text| found == *text))
        || path.starts_with(".ci")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> usize {
        violations(Path::new(path), text).len()
    }

    #[test]
    fn an_ordinary_file_is_fine() {
        assert_eq!(check("crates/pg/src/lsn.rs", "//! Positions in the WAL.\n"), 0);
        assert_eq!(check("README.md", "# Ficus\n"), 0);
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(check("proxy/build.rs", "fn main() {}\n"), 1);
    }

    #[test]
    fn a_file_is_at_most_six_hundred_lines_long() {
        assert_eq!(check("a.rs", &"//! A.\n".repeat(LINES_MAX)), 0);
        assert_eq!(check("a.rs", &"//! A.\n".repeat(LINES_MAX + 1)), 1);
    }

    #[test]
    fn marks_of_unfinished_work_are_found_in_every_kind_of_text() {
        for mark in MARKS {
            assert_eq!(check("a.rs", &format!("//! A.\n// {mark}: later\n")), 1, "{mark}");
            assert_eq!(check("docs/a.md", &format!("{mark}\n")), 1, "{mark}");
        }
    }

    #[test]
    fn names_that_say_nothing_are_found_as_file_and_as_folder() {
        for path in ["a/src/utils.rs", "a/src/common/x.rs", "a/tests/helpers.rs", "a/src/b/mod.rs"]
        {
            assert_eq!(check(path, "//! A.\n"), 1, "{path}");
        }
        assert_eq!(check("a/src/commonwealth.rs", "//! A.\n"), 0);
    }
}
