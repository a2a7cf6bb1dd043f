use std::fs;

use super::*;

fn backend(entry: &str) -> BackendConfig {
    serde_json::from_str(entry).expect("a valid entry")
}

fn server() -> BackendConfig {
    backend(r#"{"command": "server", "args": ["-v"], "env": {"KEY": "one"}}"#)
}

fn item(kind: learn::Kind, raw: &'static str) -> Item {
    learn::item(kind, Bytes::from_static(raw.as_bytes())).expect("a valid item")
}

fn lists() -> Lists {
    let raw = r#"{"name":"a \u0022","inputSchema":{"type":"object"},"x": 1.50}"#;
    Lists {
        server: Arc::new(Server {
            version: Version::LATEST_LEGACY,
            instructions: Some("Be kind.".to_owned()),
            extensions: vec![("x.y/z".to_owned(), Bytes::from_static(br#"{"a": 1e2}"#))],
            features: Features {
                tools: true,
                subscribe: true,
                ..Features::default()
            },
            found: Found::Discovered,
        }),
        tools: vec![Item {
            task_support: Some(TaskSupport::Required),
            ..item(TOOLS, raw)
        }],
        left_out: vec!["b".to_owned()],
        prompts: vec![item(PROMPTS, r#"{"name":"p"}"#)],
        resources: vec![item(RESOURCES, r#"{"name":"r","uri":"a:b"}"#)],
        templates: vec![],
        skills: vec![],
        ttl_ms: Some(5),
        public: true,
        missing: None,
    }
}

fn known() -> (tempfile::TempDir, KnownLists) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let known = KnownLists::in_folder(&folder.path().join("lists"));
    (folder, known)
}

fn files(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path().join("lists")).expect("a folder");
    entries.map(|entry| entry.expect("a file").path()).collect()
}

#[test]
fn what_is_kept_is_what_is_read_byte_by_byte() {
    let (_folder, known) = known();
    known.write("a", &server(), &lists());
    let read = known.read("a", &server()).expect("lists");
    let mut expected = lists();
    Arc::get_mut(&mut expected.server).expect("alone").found = Found::Before;
    assert_eq!(format!("{read:?}"), format!("{expected:?}"));
}

#[test]
fn another_command_has_other_lists_and_the_values_of_variables_decide_nothing() {
    let (_folder, known) = known();
    known.write("a", &server(), &lists());
    assert!(known.read("b", &server()).is_none());
    for other in [
        r#"{"command": "server", "args": ["-w"], "env": {"KEY": "one"}}"#,
        r#"{"command": "server", "args": ["-v"]}"#,
        r#"{"command": "server", "args": ["-v"], "env": {"KEY": "one"}, "cwd": "/"}"#,
        r#"{"command": "server", "args": ["-v"], "env": {"KEY": "one"}, "exclude_tools": ["a"]}"#,
        r#"{"url": "http://127.0.0.1/mcp"}"#,
    ] {
        assert!(known.read("a", &backend(other)).is_none(), "{other}");
    }
    let same = r#"{"command": "server", "args": ["-v"], "env": {"KEY": "two"}, "timeout": "5s"}"#;
    assert!(known.read("a", &backend(same)).is_some());
}

#[test]
fn incomplete_lists_are_not_kept_and_damaged_files_are_none() {
    let (folder, known) = known();
    let incomplete = Lists {
        missing: Some("it does not answer prompts/list".to_owned()),
        ..lists()
    };
    known.write("a", &server(), &incomplete);
    assert!(known.read("a", &server()).is_none());
    known.write("a", &server(), &lists());
    let file = &files(&folder)[0];
    let text = fs::read_to_string(file).expect("a file");
    let damaged = [
        text[..text.len() / 2].to_owned(),
        text.replace(r#""name":"p""#, r#""nome":"p""#),
        text.replace(Version::LATEST_LEGACY.as_str(), "1999-01-01"),
        String::new(),
    ];
    for damaged in damaged {
        fs::write(file, &damaged).expect("a file");
        assert!(known.read("a", &server()).is_none(), "{damaged}");
    }
    known.write("a", &server(), &lists());
    assert!(known.read("a", &server()).is_some());
}

#[test]
fn there_are_never_more_files_than_there_may_be() {
    let (folder, known) = known();
    for number in 0..MAX_FILES + 10 {
        known.write(&number.to_string(), &server(), &lists());
    }
    assert_eq!(files(&folder).len(), MAX_FILES);
}

#[test]
fn a_folder_that_cannot_be_made_is_as_good_as_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let known = KnownLists::in_folder(&file);
    known.write("a", &server(), &lists());
    assert!(known.read("a", &server()).is_none());
}
