//! The import rules of this crate, kept by reading its sources.
//!
//! Modules stand in tiers and import from their own tier or below, never in a circle; only `transport`
//! talks to russh; the ready-made channels are built on what users have. Paths are read as the compiler
//! reads them (`crate::`, `self::`, `super::`, groups, re-exports of `lib.rs`), without comments, strings
//! and test modules. `lib.rs` itself may import anything.

#![allow(clippy::indexing_slicing, reason = "a fault of this file shows at once")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

mod lexer;
mod planted;
mod source;

use source::{Source, is_part};

/// Every top-level module and its tier.
const TIERS: [(&str, u8); 33] = [
    ("wire", 0),
    ("error", 1),
    ("config", 1),
    ("observe", 1),
    ("metrics", 2),
    ("port", 2),
    ("auth", 2),
    ("host_key", 2),
    ("dial", 2),
    ("listen", 2),
    ("supervision", 2),
    ("connect_error", 3),
    ("behaviour", 3),
    ("handle", 3),
    ("transport", 3),
    ("channel", 4),
    ("session", 4),
    ("forward", 4),
    ("subsystem", 4),
    ("connection", 5),
    ("incoming", 5),
    ("supervised", 5),
    ("client", 6),
    ("process", 6),
    ("server", 6),
    ("test_util", 6),
    ("managed", 7),
    ("pool", 8),
    ("target", 9),
    ("fan_out", 10),
    ("sftp", 10),
    ("hardening", 7),
    ("ssh_config", 7),
];

/// Where russh may be named: a file, or a folder and all below it.
const RUSSH: [&str; 2] = ["src/transport/", "src/wire/keys.rs"];

/// Built as users would build them: `crate::Name`, never the modules behind it.
const READY_MADE: [&str; 4] = ["session", "forward", "subsystem", "process"];
const INTERNALS: [&str; 2] = ["channel", "connection"];

#[test]
fn the_crate_keeps_its_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(root, &root.join("src"), &mut files);
    assert!(files.iter().any(|(name, _)| name == "src/lib.rs"), "no sources found");
    let complaints = check(&files);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push((name, std::fs::read_to_string(&path).unwrap_or_default()));
        }
    }
}

/// Everything wrong with these files (name from the package's root, text), as `file:line: what`.
fn check(files: &[(String, String)]) -> Vec<String> {
    let mut sources: Vec<Source> = files.iter().filter_map(|(name, text)| Source::read(name, text)).collect();
    let test_only: Vec<Vec<String>> = sources.iter().flat_map(|source| source.test_modules.clone()).collect();
    sources.retain(|source| !test_only.iter().any(|module| source.module.starts_with(module)));
    let exports =
        sources.iter().filter(|source| source.module.is_empty()).flat_map(Source::exports).collect();
    let mut complaints = Vec::new();
    let mut edges = BTreeMap::new();
    for source in &sources {
        check_russh(source, &mut complaints);
        check_imports(source, &exports, &mut edges, &mut complaints);
    }
    check_circles(&edges, &mut complaints);
    complaints.dedup();
    complaints
}

fn check_russh(source: &Source, complaints: &mut Vec<String>) {
    if RUSSH.iter().any(|allowed| source.name.starts_with(allowed)) {
        return;
    }
    for (at, token) in source.tokens.iter().enumerate() {
        let inside_a_path = at >= 2 && source.is(at - 1, "::") && is_part(&source.tokens[at - 2].text);
        if token.text == "russh" && !inside_a_path {
            complaints.push(format!("{}:{}: names russh; only {RUSSH:?} may", source.name, token.line));
        }
    }
}

/// From module to module: the first place it happens.
type Edges = BTreeMap<(String, String), String>;

fn check_imports(
    source: &Source,
    exports: &BTreeMap<String, String>,
    edges: &mut Edges,
    complaints: &mut Vec<String>,
) {
    let Some(own) = source.module.first() else { return };
    let Some(own_tier) = tier(own) else {
        complaints.push(format!("{}:1: module `{own}` has no tier; add it to the table", source.name));
        return;
    };
    for import in source.imports() {
        let place = format!("{}:{}", source.name, import.line);
        let target = match import.path.first().map(String::as_str) {
            None | Some("*") => {
                complaints.push(format!("{place}: takes in the whole crate root; name what is meant"));
                continue;
            }
            Some(first) if first == own => continue,
            Some(first) => first,
        };
        let ready_made = READY_MADE.contains(&own.as_str());
        let (module, public) = match (tier(target), exports.get(target)) {
            (Some(_), _) => (target, false),
            (None, Some(module)) if module == own => continue,
            (None, Some(module)) => (module.as_str(), true),
            (None, None) => {
                complaints
                    .push(format!("{place}: `crate::{target}` is no module and not exported by lib.rs"));
                continue;
            }
        };
        edges.entry((own.clone(), module.to_owned())).or_insert_with(|| place.clone());
        if ready_made && !public && INTERNALS.contains(&module) {
            complaints.push(format!("{place}: `{own}` uses what users use, not `crate::{module}`"));
        } else if tier(module) > Some(own_tier) && !(ready_made && public) {
            complaints.push(format!("{place}: `{own}` (tier {own_tier}) imports `{module}` from above"));
        }
    }
}

fn check_circles(edges: &Edges, complaints: &mut Vec<String>) {
    for ((from, to), place) in edges {
        if reaches(edges, to, from) {
            complaints.push(format!("{place}: `{from}` imports `{to}`, which leads back to `{from}`"));
        }
    }
}

fn reaches(edges: &Edges, start: &str, goal: &str) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
    while let Some(module) = open.pop() {
        if module == goal {
            return true;
        }
        if seen.insert(module) {
            open.extend(edges.keys().filter(|(from, _)| from == module).map(|(_, to)| to.as_str()));
        }
    }
    false
}

fn tier(module: &str) -> Option<u8> {
    TIERS.iter().find(|(name, _)| *name == module).map(|(_, tier)| *tier)
}
