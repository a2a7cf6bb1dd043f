//! `switchboard check --connect`: what the servers are and offer, and what to do about it.

use serde_json::{Value, json};
use switchboard_testkit::fake_http::{FakeHttp, RefusedPort, Transport};
use switchboard_tests::front::faulty;
use switchboard_tests::tools;

use super::{MAX_NAME, Place, crowded, run};

#[tokio::test]
async fn a_check_that_connects_reports_what_there_is() {
    let place = Place::new();
    let config = json!({ "backends": crowded() }).to_string();
    let file = place.write("a.json", &config);
    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(0).json();
    assert_eq!(report["valid"], true, "{report:#}");
    let backends = report["backends"].as_array().expect("backends");
    let named = |name: &str| {
        let found = backends.iter().find(|backend| backend["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {report:#}"))
    };
    assert_eq!(backends.len(), 3, "{report:#}");
    assert_eq!(named("one")["state"], "ready");
    assert_eq!(named("one")["era"], "modern");
    assert_eq!(named("one")["prompts"], json!(["greet"]));
    assert_eq!(named("one")["sessions"], Value::Null, "{report:#}");
    let three = named("three");
    assert_eq!(three["transport"], "stdio");
    assert_eq!(three["version"], "2025-11-25");
    let found = three["eraFound"].as_str().expect("how it was found");
    assert!(found.contains("server/discover"), "{found}");
    let offers = three["offers"].as_array().expect("what it offers");
    for offer in [
        "tools",
        "prompts",
        "resources",
        "completions",
        "logging",
        "subscribe",
    ] {
        assert!(
            offers.contains(&json!(offer)),
            "{offer} is not in {offers:?}"
        );
    }
    let sessions =
        json!({ "scope": "shared", "processes": true, "max": 64, "maxPerPrincipal": 16 });
    assert_eq!(three["sessions"], sessions);
    let tools = named("three")["tools"].as_array().expect("tools");
    assert!(tools.contains(&json!("echo")), "{tools:?}");

    let collision = json!({ "name": "echo", "backends": ["one", "two"] });
    let collisions = report["collisions"].as_array().expect("collisions");
    assert!(collisions.contains(&collision), "{collisions:#?}");
    let shortened = report["shortened"].as_array().expect("shortened names");
    let is_long = |name: &Value| name["name"] == "test_input_required_result_multiple_inputs";
    let long = shortened
        .iter()
        .find(|name| is_long(name))
        .expect("a long name");
    assert_eq!(long["backend"], "three");
    let exposed = long["exposed"].as_str().expect("a name");
    assert!(
        exposed.starts_with("a-prefix-that-is-rather-long__"),
        "{exposed}"
    );
    assert!(exposed.len() <= MAX_NAME, "{exposed}");

    let text = run(&["check", "-c", &file, "--connect"]).await;
    text.assert_code(0);
    for part in ["one: ready", "echo", "collision", exposed, "tools in all"] {
        assert!(text.stdout.contains(part), "{part} is not in {text:#?}");
    }
    let processes = "shared; callers whose client can be asked something get processes of their own, \
                     at most 16 each and 64 in all";
    for row in [
        "  transport    stdio".to_owned(),
        format!("  era          legacy 2025-11-25 ({found})"),
        format!("  sessions     {processes}"),
    ] {
        assert!(
            text.stdout.contains(&row),
            "{row} is not in {}",
            text.stdout
        );
    }
}

#[tokio::test]
async fn a_check_says_how_each_server_was_found_to_be_reached() {
    let place = Place::new();
    let (http, sse) = tokio::join!(
        FakeHttp::start(Transport::Modern, "a"),
        FakeHttp::start(Transport::Sse, "b"),
    );
    let backends = json!({ "http": { "url": http.url() }, "sse": { "url": sse.url() } });
    let file = place.write("a.json", &json!({ "backends": backends }).to_string());
    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(0).json();
    let ways: Vec<&Value> = report["backends"]
        .as_array()
        .expect("backends")
        .iter()
        .map(|backend| &backend["transport"])
        .collect();
    assert_eq!(ways, ["HTTP", "HTTP+SSE"], "{report:#}");
}

#[tokio::test]
async fn a_check_names_each_endpoint_and_patterns_that_fit_nothing() {
    let place = Place::new();
    let (there, refused) = (
        FakeHttp::start(Transport::Modern, "a").await,
        RefusedPort::take(),
    );
    let config = json!({
        "backends": {
            "many": { "endpoints": [{ "url": there.url() }, { "url": refused.url() }] },
            "one": {
                "url": there.url(),
                "exclude_tools": ["ecoh", "delay"],
                "safe_tools": ["echo", "nothing_*"],
            },
        },
        "fallbacks": [{ "tool": "many__echo", "try": ["one__ecoh"] }],
        "limits": [{
            "name": "all", "per": ["backend"], "rate": "9/s", "backends": ["one", "tow"],
            "tools": ["one__echo", "one__ecoh"],
        }],
        "costs": { "one__*": 2, "two__*": 3 },
    });
    let file = place.write("a.json", &format!("{config:#}"));
    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(1).json();
    let endpoints = report["backends"][0]["endpoints"].as_array();
    let endpoints = endpoints.expect("endpoints");
    assert_eq!(endpoints[0]["state"], "ready", "{report:#}");
    assert_eq!(endpoints[1]["state"], "unavailable", "{report:#}");
    let reason = endpoints[1]["reason"].as_str().expect("a reason");
    assert!(reason.contains("connection refused"), "{reason}");
    let said = |findings: &Value, key: &str| {
        let findings = findings.as_array().expect("findings");
        let found = findings.iter().find(|finding| finding["key"] == key);
        let found = found.unwrap_or_else(|| panic!("{key} is not in {report:#}"));
        assert_eq!(found["file"], file.as_str());
        assert!(found["line"].is_u64(), "{found}");
        found["message"].as_str().expect("a message").to_owned()
    };
    for key in ["exclude_tools[0]", "safe_tools[1]"] {
        let message = said(&report["warnings"], &format!("backends.one.{key}"));
        assert!(message.contains("fits no tool"), "{message}");
        assert!(message.contains("`delay`"), "{message}");
    }
    let message = said(&report["warnings"], "limits[0].backends[1]");
    assert!(message.contains("`tow` fits no backend"), "{message}");
    for key in ["limits[0].tools[1]", "costs.\"two__*\""] {
        let message = said(&report["warnings"], key);
        assert!(message.contains("fits no tool"), "{message}");
    }
    let message = said(&report["warnings"], "fallbacks[0].tool");
    assert!(message.contains("not known to be safe"), "{message}");
    let message = said(&report["chains"], "fallbacks[0].try[0]");
    assert!(message.contains("did you mean `one__echo`?"), "{message}");

    let text = run(&["check", "-c", &file, "--connect"]).await;
    for part in [": ready\n", ": unavailable (no connection", "fits no tool"] {
        assert!(text.stdout.contains(part), "{part} is not in {text:#?}");
    }
}

#[tokio::test]
async fn a_check_names_tools_that_are_not_cached_and_patterns_that_fit_none() {
    let place = Place::new();
    let marked = ["*_note", "serach_notes", "list_notes", "delete_note"];
    let config = json!({ "backends": { "notes": {
        "command": tools::program("switchboard"),
        "args": ["example-server", "notes"],
        "cache": { "tools": marked },
    } } });
    let file = place.write("a.json", &format!("{config:#}"));
    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(0).json();
    let warnings = report["warnings"].as_array().expect("warnings");
    let said = |item: usize| {
        let key = format!("backends.notes.cache.tools[{item}]");
        let about = warnings.iter().filter(|warning| warning["key"] == key);
        let about = about.map(|warning| {
            assert!(warning["line"].is_u64(), "{warning}");
            warning["message"].as_str().expect("a message").to_owned()
        });
        about.collect::<Vec<_>>()
    };
    let end = "whose name or hints say that it changes something: its results are not cached";
    let tool = |name: &str| format!("names the tool \"{name}\", {end}");
    assert_eq!(said(0), [tool("add_note"), tool("delete_note")]);
    let unused = said(1);
    assert!(
        unused[0].contains("`serach_notes` fits no tool of the server"),
        "{unused:?}"
    );
    assert_eq!((unused.len(), said(2)), (1, Vec::new()));
    // It says it itself, which nobody has to connect for.
    let known = said(3);
    assert!(
        known[0].contains("names `delete_note`, which says"),
        "{known:?}"
    );
    assert_eq!(known.len(), 1, "{known:?}");

    let text = run(&["check", "-c", &file, "--connect"]).await;
    for part in [&tool("add_note"), "`serach_notes` fits no tool"] {
        assert!(text.stdout.contains(part), "{part} is not in {text:#?}");
    }
}

/// More tools than some clients take.
fn too_many() -> Value {
    let mut backends = crowded();
    backends["four"] = json!({
        "command": tools::program("conformance-server"),
        "args": ["--stdio", "--era", "legacy"],
    });
    json!({ "backends": backends })
}

#[tokio::test]
async fn a_check_warns_of_more_tools_than_a_client_takes() {
    let place = Place::new();
    let file = place.write("a.json", &too_many().to_string());
    let text = run(&["check", "-c", &file, "--connect"]).await;
    let said = &text.assert_code(0).stdout;
    assert!(said.contains("warning: Gemini CLI"), "{text:#?}");
    assert!(!said.contains("warning: Cursor"), "{text:#?}");
}

#[tokio::test]
async fn a_report_for_programs_has_the_same_warnings() {
    let place = Place::new();
    let file = place.write("a.json", &too_many().to_string());
    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(0).json().to_string();
    assert!(report.contains("Gemini CLI"), "{report}");
}

#[tokio::test]
async fn a_check_fails_when_a_server_does_not_come() {
    let mut backends = crowded();
    backends["gone"] = faulty(&["--exit-at-start"]);
    backends["absent"] = json!({ "command": "there-is-no-such-program-8c2f" });
    let place = Place::new();
    let file = place.write("a.json", &json!({ "backends": backends }).to_string());
    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(1).json();
    let backends = report["backends"].as_array().expect("backends");
    for name in ["gone", "absent"] {
        let backend = backends.iter().find(|backend| backend["name"] == name);
        let backend = backend.expect("the backend");
        assert_eq!(backend["state"], "unavailable", "{backend:#}");
        let reason = backend["reason"].as_str();
        assert!(reason.is_some_and(|text| !text.is_empty()), "{backend:#}");
    }
    let text = run(&["check", "-c", &file, "--connect"]).await;
    text.assert_code(1);
    assert!(text.stdout.contains("gone: unavailable"), "{text:#?}");
    assert!(text.stdout.contains("one: ready"), "{text:#?}");
}
