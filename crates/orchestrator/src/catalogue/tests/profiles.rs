//! How a profile lists tools, and what becomes of calls that come to it.

use std::slice;

use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::CallError;

use super::*;
use crate::profiles::{Profiles, check, enter};

fn snapshot(profile: &Value, sources: &[Source]) -> Snapshot {
    let config = serde_json::from_value(json!({ "p": profile })).unwrap();
    let settings = SnapshotSettings {
        profiles: Arc::new(Profiles::new(&config)),
        ..SnapshotSettings::new("1.2.3")
    };
    Snapshot::build(&NamesConfig::default(), sources, &settings)
}

fn of_tool(tool: &Value) -> Source {
    let tool = item_of(tool, "name");
    backend("gh").with(|lists| lists.tools.push(tool))
}

fn search() -> Source {
    of_tool(&json!({
        "name": "search",
        "description": "of the server",
        "inputSchema": {
            "type": "object",
            "properties": {
                "q": { "type": "string" },
                "org": { "type": "string" },
                "n": { "type": "integer", "default": 5 },
            },
            "required": ["org", "n"],
        },
    }))
}

fn page(snapshot: &Snapshot, profile: Option<&str>, list: List) -> Value {
    let view = snapshot.view(&Principal::anonymous(), profile);
    serde_json::from_slice(view.page(list, None).unwrap()).unwrap()
}

fn call(params: &str) -> Call {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    Call {
        profile: Some("p".into()),
        ..Call::new(
            Envelope::parse(text.into()).unwrap(),
            Method::ToolsCall,
            Arc::new(Principal::anonymous()),
            Version::LATEST,
        )
    }
}

/// The parameters of a call as they are behind the profile.
fn entered(snapshot: &Snapshot, params: &str) -> Result<String, String> {
    let mut call = call(params);
    enter(snapshot, &mut call).map_err(|error| match error {
        CallError::Protocol(error) => format!("{} {}", error.code, error.message),
        CallError::Fault(fault) => format!("{} {}", fault.code, fault.message),
        CallError::Backend { .. } => "of a backend".to_owned(),
    })?;
    let params = call.request.keys.params.unwrap();
    Ok(String::from_utf8(call.request.slice(params).to_vec()).unwrap())
}

fn rules() -> Value {
    json!({
        "rename": { "gh__search": "find" },
        "describe": { "gh__search": "of the \"profile\"" },
        "arguments": { "gh__search": { "fixed": { "org": "acme" }, "default": { "n": 20 } } },
    })
}

#[test]
fn a_tool_is_listed_as_the_profile_has_it_and_else_as_its_server_wrote_it() {
    let snapshot = snapshot(&rules(), &[search()]);
    let tools = &page(&snapshot, Some("p"), List::Tools)["tools"];
    assert_eq!(
        *tools,
        json!([{
            "name": "find",
            "description": "of the \"profile\"",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "q": { "type": "string" },
                    "n": { "type": "integer", "default": 20 },
                },
            },
        }])
    );
    let without = &page(&snapshot, None, List::Tools)["tools"][0];
    assert_eq!(without["name"], "gh__search");
    assert_eq!(without["inputSchema"]["required"], json!(["org", "n"]));
}

#[test]
fn a_description_is_added_where_there_was_none() {
    let source = of_tool(&json!({ "name": "search" }));
    let snapshot = snapshot(&json!({ "describe": { "gh__search": "d" } }), &[source]);
    let tools = &page(&snapshot, Some("p"), List::Tools)["tools"];
    assert_eq!(
        *tools,
        json!([{ "name": "gh__search", "description": "d" }])
    );
}

#[test]
fn what_a_client_wrote_stays_as_it_is_beside_what_the_profile_sets() {
    let snapshot = snapshot(&rules(), &[search()]);
    for (given, expected) in [
        (
            r#"{"name":"find","arguments": { "q" : 1e400, "q":"\ud83d" }}"#,
            r#"{"name":"gh__search","arguments": {"org":"acme","n":20, "q" : 1e400, "q":"\ud83d" }}"#,
        ),
        (
            r#"{"name":"find"}"#,
            r#"{"arguments":{"org":"acme","n":20},"name":"gh__search"}"#,
        ),
        (
            r#"{"name":"find","arguments":{}}"#,
            r#"{"name":"gh__search","arguments":{"org":"acme","n":20}}"#,
        ),
        (
            r#"{"name":"find","arguments":{"n":null,"org":"acm\u0065"}}"#,
            r#"{"name":"gh__search","arguments":{"n":null,"org":"acm\u0065"}}"#,
        ),
    ] {
        // A key that must not be there twice but is, is the server's to judge.
        assert_eq!(entered(&snapshot, given).as_deref(), Ok(expected));
    }
}

#[test]
fn what_the_profile_does_not_leave_to_its_clients_is_refused() {
    let snapshot = snapshot(&rules(), &[search()]);
    for arguments in [
        r#"{"org":"evil"}"#,
        r#"{"org":null}"#,
        r#"{"\u006frg":"evil"}"#,
        r#"{"org":"acme","org":"evil"}"#,
        r#"{"org":"evil","org":"acme"}"#,
    ] {
        let params = format!(r#"{{"name":"find","arguments":{arguments}}}"#);
        let refused = entered(&snapshot, &params).unwrap_err();
        assert_eq!(
            refused,
            "422 The argument `org` of `find` is set by the profile `p`: leave it out. Nothing was \
             executed.",
            "{arguments}"
        );
    }
    for arguments in ["[]", "null", "1"] {
        let params = format!(r#"{{"name":"find","arguments":{arguments}}}"#);
        let refused = entered(&snapshot, &params).unwrap_err();
        assert_eq!(refused, "-32602 params.arguments is an object");
    }
}

#[test]
fn a_renamed_tool_has_no_other_name() {
    let snapshot = snapshot(&rules(), &[search()]);
    let refused = entered(&snapshot, r#"{"name":"gh__search"}"#).unwrap_err();
    assert_eq!(refused, "-32602 Unknown tool: gh__search");
    let hidden = json!({ "tools": ["gh__other"], "rename": { "gh__search": "find" } });
    let snapshot = self::snapshot(&hidden, &[search()]);
    let refused = entered(&snapshot, r#"{"name":"find"}"#).unwrap_err();
    assert_eq!(refused, "-32602 Unknown tool: find");
}

#[test]
fn a_tool_without_a_prefix_cannot_be_reached_past_the_rules_for_it() {
    // While the first plain one is not known, the tools of the second have qualified names.
    let waiting = || Source {
        prefix: Some(String::new()),
        ..backend("a").unlearned(State::Unavailable)
    };
    let rules = |name: &str| {
        json!({
            "exclude": ["drop"],
            "arguments": { name: { "fixed": { "org": "acme" } } },
        })
    };
    for sources in [
        vec![plain("web").tools(&["find", "drop"])],
        vec![waiting(), plain("web").tools(&["find", "drop"])],
    ] {
        for rule in ["find", "web__find"] {
            let snapshot = snapshot(&rules(rule), &sources);
            let listed = page(&snapshot, Some("p"), List::Tools);
            assert_eq!(listed["tools"].as_array().unwrap().len(), 1, "{listed}");
            for name in ["find", "web__find"] {
                let params = format!(r#"{{"name":"{name}"}}"#);
                if snapshot.tool(name).is_some() {
                    let entered = entered(&snapshot, &params).unwrap();
                    assert!(entered.contains("acme"), "{entered}");
                }
            }
            let dropped = ["drop", "web__drop"].into_iter();
            for name in dropped.filter(|name| snapshot.tool(name).is_some()) {
                assert!(snapshot.hides_tool(&Principal::anonymous(), Some("p"), name));
            }
        }
    }
}

#[test]
fn more_tools_than_wanted_are_told_of_and_not_left_out() {
    let source = backend("files").tools(&["a", "b", "c"]);
    let snapshot = snapshot(&json!({ "tool_limit": 2 }), &[source]);
    let listed = page(&snapshot, Some("p"), List::Tools);
    assert_eq!(listed["tools"].as_array().unwrap().len(), 3);
    let told = &listed["_meta"]["dev.switchboard/tool_limit"];
    assert_eq!(*told, json!({ "limit": 2, "tools": 3 }));
    let other = page(&snapshot, Some("p"), List::Prompts);
    assert!(other["_meta"]["dev.switchboard/tool_limit"].is_null());
    let said: Vec<String> = check::problems(&snapshot)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("profiles.p.tool_limit: is 2, and the profile has 3 tools"));
}

#[test]
fn what_fits_nothing_is_said_once_all_is_known() {
    let rules = json!({
        "tools": ["gh__*", "nix*"],
        "rename": { "gh__serach": "find", "gh__search": "gh__other" },
        "arguments": { "gh__search": { "fixed": { "orgg": 1 } } },
    });
    let other = item_of(&json!({ "name": "other" }), "name");
    let source = search().with(|lists| lists.tools.push(other));
    let said = |sources: &[Source]| -> Vec<String> {
        let problems = check::problems(&snapshot(&rules, sources));
        problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        said(slice::from_ref(&source)),
        [
            "profiles.p.tools[1]: `nix*` fits no tool",
            "profiles.p.rename.gh__serach: `gh__serach` is no tool that a server has; did you mean `gh__search`?",
            "profiles.p.arguments.gh__search.fixed.orgg: `orgg` is no argument that the schema of `gh__search` names; did you mean `org`?",
            "profiles.p.rename.gh__search: gives `gh__search` the name `gh__other`, which a server has a tool of; that one is not in the profile",
        ]
    );
    let waiting = backend("nix").unlearned(State::Unavailable);
    assert_eq!(said(&[source, waiting]).len(), 2);
}
