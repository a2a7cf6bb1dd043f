use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn config(separator: &str, max_length: usize) -> NamesConfig {
    NamesConfig {
        separator: separator.to_owned(),
        max_length,
    }
}

fn usual(backends: &[(&str, Option<&str>)]) -> Namespaces {
    Namespaces::new(&NamesConfig::default(), backends.iter().copied())
}

fn text(namespaces: &Namespaces, backend: usize, original: &str) -> String {
    namespaces.qualify(backend, original).text
}

#[test]
fn a_name_that_fits_is_prefix_separator_and_name() {
    let names = usual(&[("files", None), ("github", Some("gh")), ("zoo", Some(""))]);
    let fits = |text: &str| Name {
        text: text.to_owned(),
        shortened: false,
    };
    assert_eq!(names.qualify(0, "read-file_2"), fits("files__read-file_2"));
    assert_eq!(names.qualify(1, "list"), fits("gh__list"));
    assert_eq!(names.qualify(2, "feed"), fits("zoo__feed"));
    let longest = "x".repeat(46 - "gh__".len());
    assert_eq!(names.qualify(1, &longest), fits(&format!("gh__{longest}")));
}

#[test]
fn others_are_shortened_with_a_stable_suffix() {
    let names = usual(&[("files", None), ("github", Some("gh"))]);
    // Clients remember names: these must never become other ones.
    assert_eq!(text(&names, 0, "read.file"), "files__read_file_97875296");
    assert_eq!(text(&names, 0, "lesen/ä"), "files__lesen___e79f0f2d");
    let long = text(&names, 1, &"x".repeat(43));
    assert_eq!(long.len(), 46);
    assert!(long.starts_with("gh__xxx"), "{long}");
    assert_ne!(long, text(&names, 1, &"x".repeat(44)));
}

#[test]
fn the_suffix_is_of_the_backend_not_of_its_prefix() {
    let before = usual(&[("files", None)]);
    let after = usual(&[("files", Some("f"))]);
    let suffix = |name: String| name[name.len() - 8..].to_owned();
    assert_eq!(
        suffix(text(&before, 0, "a b")),
        suffix(text(&after, 0, "a b"))
    );
    assert_ne!(
        suffix(text(&before, 0, "a b")),
        suffix(text(&usual(&[("other", None)]), 0, "a b"))
    );
}

#[test]
fn a_namespace_inside_another_belongs_to_the_closer_one() {
    let names = usual(&[("git", None), ("git__hub", None)]);
    assert_eq!(text(&names, 1, "list"), "git__hub__list");
    let moved = text(&names, 0, "hub__list");
    assert!(moved.starts_with("git__list_"), "{moved}");
    assert_eq!(text(&names, 0, "hub"), "git__hub");
    assert_eq!(names.claimant("git__hub__x", |_| true), Some(1));
    assert_eq!(
        names.claimant("git__hub__x", |backend| backend == 0),
        Some(0)
    );
    assert_eq!(names.claimant("git__x", |_| true), Some(0));
    assert_eq!(names.claimant("svn__x", |_| true), None);
}

#[test]
fn a_prefix_with_other_characters_is_cleaned() {
    let names = usual(&[("my server", None), ("my_server", None)]);
    let first = text(&names, 0, "go");
    assert!(first.starts_with("my_server__go_"), "{first}");
    assert_eq!(text(&names, 1, "go"), "my_server__go");
}

#[test]
fn a_prefix_that_leaves_no_room_is_cut() {
    let prefix = "p".repeat(32);
    let names = Namespaces::new(&config("__", 24), [("b", Some(&*prefix))]);
    let name = text(&names, 0, "tool");
    assert_eq!(name.len(), 24);
    assert!(name.starts_with(names.claim(0)));
    assert_ne!(name, text(&names, 0, "other"));
}

/// Backends with the prefixes that may be configured together: pairwise different.
fn prefixes() -> impl Strategy<Value = Vec<String>> {
    let prefix = prop_oneof!["[ab_]{1,5}", "[ab_]{10,32}"];
    proptest::collection::btree_set(prefix, 1..5).prop_map(|set| set.into_iter().collect())
}

fn originals() -> impl Strategy<Value = Vec<String>> {
    let original = prop_oneof![4 => "[ab_]{0,8}", 1 => "[ab_]{20,40}", 1 => "[a./ä]{1,4}", 1 => any::<String>()];
    proptest::collection::btree_set(original, 1..12).prop_map(|set| set.into_iter().collect())
}

proptest! {
    #[test]
    fn names_are_unique_allowed_and_short_enough(
        prefixes in prefixes(),
        originals in originals(),
        separator in prop_oneof!["_", "__", "-", "a_"],
        max_length in 24_usize..=64,
    ) {
        let names = Namespaces::new(
            &config(&separator, max_length),
            prefixes.iter().map(|prefix| (&**prefix, None)),
        );
        let mut seen = BTreeMap::new();
        for backend in 0..prefixes.len() {
            for original in &originals {
                for name in [names.qualify(backend, original), names.shorten(backend, original)] {
                    prop_assert!(name.text.len() <= max_length, "{}", name.text);
                    prop_assert!(name.text.bytes().all(is_allowed), "{}", name.text);
                    prop_assert!(name.text.starts_with(names.claim(backend)), "{}", name.text);
                    let owner = seen.insert(name.text.clone(), (backend, original));
                    prop_assert!(owner.is_none_or(|owner| owner == (backend, original)), "{}", name.text);
                }
            }
        }
    }

    #[test]
    fn a_name_that_is_not_shortened_says_what_it_is_of(
        prefixes in prefixes(),
        original in "[ab_]{0,40}",
    ) {
        let names = Namespaces::new(
            &NamesConfig::default(),
            prefixes.iter().map(|prefix| (&**prefix, None)),
        );
        for (backend, prefix) in prefixes.iter().enumerate() {
            let name = names.qualify(backend, &original);
            if !name.shortened {
                prop_assert_eq!(&name.text, &format!("{prefix}__{original}"));
                let claimant = names.claimant(&name.text, |_| true);
                let claim = claimant.map(|claimant| names.claim(claimant).len());
                prop_assert_eq!(claim, Some(names.claim(backend).len()));
            }
        }
    }
}
