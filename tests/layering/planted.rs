//! The checker is checked: planted violations are found, and what looks like one is not.

use crate::check;

/// Complaints about one planted file, beside a `lib.rs` that exports two names.
fn complaints(name: &str, text: &str) -> Vec<String> {
    together(&[(name, text)])
}

fn together(files: &[(&str, &str)]) -> Vec<String> {
    let library = "pub use channel::{inner::Other as Renamed, ChannelRef}; pub use connection::Connection as ConnectionRef;";
    let mut all = vec![("src/lib.rs".to_owned(), library.to_owned())];
    all.extend(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
    check(&all)
}

#[track_caller]
fn assert_one(found: &[String], place: &str, words: &str) {
    assert!(
        matches!(found, [one] if one.starts_with(place) && one.contains(words)),
        "wanted one complaint at {place} with {words:?}, got {found:#?}"
    );
}

#[test]
fn an_upward_import_is_caught_with_file_and_line() {
    let found = complaints("src/wire/codes.rs", "use std::fmt;\n\nuse crate::error::BoxError;\n");
    assert_one(&found, "src/wire/codes.rs:3:", "`wire` (tier 0) imports `error`");
}

#[test]
fn an_upward_path_is_caught_in_every_spelling() {
    for text in [
        "use super::connection::X;",
        "use crate::{error::E, connection::{self, X}};",
        "fn f() { crate::connection::go() }",
        "pub(crate) use crate::connection as c;",
        "mod inner { mod more { use super::super::super::connection::X; } }",
        "macro_rules! m { () => { $crate::connection::X } }",
        "use crate::ConnectionRef;",
        "fn g<'a>(c: char, x: &'a ()) { let q = '\"'; let _ = crate::connection::Y; }",
        "#[cfg(any(test, feature = \"test-util\"))] use crate::connection::X;",
    ] {
        assert_one(&complaints("src/port/mod.rs", text), "src/port/mod.rs:1:", "imports `connection`");
    }
}

#[test]
fn super_counts_from_the_file() {
    assert_eq!(complaints("src/port/deep.rs", "use super::connection::X;"), Vec::<String>::new());
    let found = complaints("src/port/deep.rs", "use super::super::connection::X;");
    assert_one(&found, "src/port/deep.rs:1:", "imports `connection`");
}

#[test]
fn a_downward_or_level_import_is_fine() {
    let text = "use crate::{error::E, wire, auth::A}; use self::x::Y; use super::port::Z;";
    assert_eq!(complaints("src/port/mod.rs", text), Vec::<String>::new());
}

#[test]
fn comments_strings_and_tests_do_not_count() {
    let text = r##"
        //! See [`crate::connection`].
        /* use crate::connection::X; /* nested */ use russh::X; */
        const A: &str = "crate::connection::X"; const B: &str = r#"russh::"X" "#;
        #[cfg(test)] use crate::connection::{X, Y};
        #[cfg(all(test, unix))] #[allow(dead_code)] fn f() { crate::connection::go() }
        #[cfg(test)] mod props;
        #[cfg(test)] mod tests { use super::super::connection::X; mod more {} use russh::Y; }
    "##;
    let files = [
        ("src/wire/mod.rs", text),
        ("src/wire/props.rs", "use crate::client::X;"),
        ("src/wire/tests.rs", "use crate::client::X;"),
    ];
    assert_eq!(together(&files), Vec::<String>::new());
    let behind = format!("{text}\nuse crate::client::X;");
    assert_one(&complaints("src/wire/mod.rs", &behind), "src/wire/mod.rs:10:", "imports `client`");
}

#[test]
fn a_circle_in_one_tier_is_caught_at_each_link() {
    let found = together(&[
        ("src/auth/mod.rs", "use crate::dial::X;"),
        ("src/dial/mod.rs", "use crate::port::X;"),
        ("src/port/mod.rs", "\nuse crate::auth::X;"),
    ]);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found.iter().any(|one| one.starts_with("src/port/mod.rs:2: `port` imports `auth`")),
        "{found:#?}"
    );
}

#[test]
fn russh_is_named_in_its_places_only() {
    for text in
        ["use russh::client;", "use ::russh::client;", "type T = russh::Error;", "extern crate russh;"]
    {
        assert_one(&complaints("src/client/mod.rs", text), "src/client/mod.rs:1:", "russh");
        assert_eq!(complaints("src/transport/door.rs", text), Vec::<String>::new());
        assert_eq!(complaints("src/wire/keys.rs", text), Vec::<String>::new());
    }
    assert_one(&complaints("src/wire/keys_more.rs", "use russh::keys;"), "src/wire/keys_more.rs:1:", "russh");
}

#[test]
fn ready_made_channels_use_the_crate_root_not_the_internals() {
    for module in ["session", "forward", "subsystem"] {
        let file = format!("src/{module}/mod.rs");
        let public = "use crate::{ChannelRef, ConnectionRef, Renamed};";
        assert_eq!(complaints(&file, public), Vec::<String>::new());
        for internal in ["channel", "connection"] {
            let text = format!("use crate::{internal}::inner::X;");
            assert_one(&complaints(&file, &text), &format!("{file}:1:"), "what users use");
        }
        assert_one(&complaints(&file, "use crate::client::X;"), &format!("{file}:1:"), "from above");
    }
}

#[test]
fn a_circle_through_the_crate_root_is_caught() {
    let found = together(&[
        ("src/session/mod.rs", "use crate::ConnectionRef;"),
        ("src/connection/mod.rs", "use crate::session::X;"),
    ]);
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn what_hides_imports_is_caught() {
    assert_one(&complaints("src/port/mod.rs", "use crate::*;"), "src/port/mod.rs:1:", "whole crate root");
    assert_one(&complaints("src/port/mod.rs", "use super::*;"), "src/port/mod.rs:1:", "whole crate root");
    assert_one(&complaints("src/port/mod.rs", "use crate as all;"), "src/port/mod.rs:1:", "whole crate root");
    assert_one(&complaints("src/port/mod.rs", "use crate::nothing::X;"), "src/port/mod.rs:1:", "no module");
    assert_one(&complaints("src/novel/mod.rs", ""), "src/novel/mod.rs:1:", "no tier");
}
