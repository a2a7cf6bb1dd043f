use super::*;
use proptest::prelude::*;

const ALL: &[Version] = Version::SUPPORTED_LEGACY;

fn legacy(method: Method, version: Version, raw: &str) -> String {
    let payload = Payload::from(Bytes::copy_from_slice(raw.as_bytes()));
    text(&result(method, version, &payload))
}

fn text(payload: &Payload) -> String {
    String::from_utf8(payload.segments().concat()).expect("UTF-8")
}

#[test]
fn what_every_modern_result_has_goes() {
    let raw = r#"{"resultType":"complete","contents":[{"uri":"a:b","text":""}],"ttlMs":5,"x":[1 ],"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}"#;
    for version in ALL {
        assert_eq!(
            legacy(Method::ResourcesRead, *version, raw),
            r#"{"contents":[{"uri":"a:b","text":""}],"x":[1 ]}"#
        );
    }
    assert_eq!(
        legacy(
            Method::ToolsList,
            Version::V2025_11_25,
            r#"{"resultType":"complete"}"#
        ),
        "{}"
    );
}

#[test]
fn metadata_of_others_stays() {
    let raw = r#"{"tools":[],"_meta":{"io.modelcontextprotocol/serverInfo":{},"dev.switchboard/backends":[{"name":"a"}],"a/b":1}}"#;
    assert_eq!(
        legacy(Method::ToolsList, Version::V2025_11_25, raw),
        r#"{"tools":[],"_meta":{"dev.switchboard/backends":[{"name":"a"}],"a/b":1}}"#
    );
    for (meta, kept) in [("{}", ""), ("null", ",\"_meta\":null"), ("{ }", "")] {
        let raw = format!(r#"{{"content":[],"_meta":{meta}}}"#);
        let kept = format!(r#"{{"content":[]{kept}}}"#);
        assert_eq!(legacy(Method::ToolsCall, Version::V2025_11_25, &raw), kept);
    }
}

#[test]
fn structured_results_are_objects() {
    let result = |version, value: &str| {
        let raw = format!(r#"{{"content":[{{}}],"structuredContent": {value} ,"isError":false}}"#);
        legacy(Method::ToolsCall, version, &raw)
    };
    for version in [Version::V2025_11_25, Version::V2025_06_18] {
        for (value, expected) in [
            (r#"{"a":1}"#, r#"{"a":1}"#),
            ("[1]", r#"{"result":[1]}"#),
            ("\"x\"", r#"{"result":"x"}"#),
            ("null", r#"{"result":null}"#),
        ] {
            let out = result(version, value);
            assert!(out.contains(expected), "{out}");
            let whole: serde_json::Value = serde_json::from_str(&out).expect("JSON");
            assert!(whole["structuredContent"].is_object());
        }
    }
    for version in [Version::V2025_03_26, Version::V2024_11_05] {
        assert_eq!(
            result(version, "[1]"),
            r#"{"content":[{}],"isError":false}"#
        );
    }
}

#[test]
fn what_is_said_in_structured_form_alone_is_said_as_text_to_those_who_read_no_other() {
    let raw = r#"{"structuredContent":{"a":[1]},"content":[ ]}"#;
    assert_eq!(
        legacy(Method::ToolsCall, Version::V2025_03_26, raw),
        r#"{"content":[{"type":"text","text":"{\"a\":[1]}"}]}"#
    );
    assert_eq!(legacy(Method::ToolsCall, Version::V2025_06_18, raw), raw);
}

#[test]
fn a_large_result_is_not_copied() {
    let large = "x".repeat(100_000);
    let raw = Bytes::from(format!(
        r#"{{"resultType":"complete","content":[{{"type":"text","text":"{large}"}}],"structuredContent":{{"a":"{large}"}}}}"#
    ));
    let inside = raw.as_ptr() as usize..raw.as_ptr() as usize + raw.len();
    for version in [Version::V2025_11_25, Version::V2025_06_18] {
        let out = result(Method::ToolsCall, version, &raw.clone().into());
        let own: usize = out
            .segments()
            .iter()
            .filter(|segment| !inside.contains(&(segment.as_ptr() as usize)))
            .map(Bytes::len)
            .sum();
        assert!(own < 10, "{own} bytes are copies");
    }
}

#[test]
fn notifications_lose_what_only_modern_clients_know() {
    let notify = |version, raw: &str| {
        let out = notification(version, &Bytes::copy_from_slice(raw.as_bytes()))?;
        Some(String::from_utf8(out.to_vec()).expect("UTF-8"))
    };
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5,"message":"half"}}"#;
    for version in &ALL[..3] {
        assert_eq!(notify(*version, progress).as_deref(), Some(progress));
    }
    assert_eq!(
        notify(Version::V2024_11_05, progress),
        Some(progress.replace(",\"message\":\"half\"", ""))
    );
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}}"#;
    assert_eq!(
        notify(Version::V2025_11_25, changed).as_deref(),
        Some(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}"#)
    );
    let of = |method: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
    assert_eq!(
        notify(
            Version::V2025_11_25,
            &of("notifications/subscriptions/acknowledged")
        ),
        None
    );
    let complete = of("notifications/elicitation/complete");
    assert_eq!(
        notify(Version::V2025_11_25, &complete),
        Some(complete.clone())
    );
    assert_eq!(notify(Version::V2025_06_18, &complete), None);
}

proptest! {
    #[test]
    fn members_that_are_not_translated_stay_for_every_version(
        members in proptest::collection::btree_map("[a-z\"\\\\é]{1,4}-", "\\PC{0,8}", 0..6),
        cuts in proptest::collection::vec(any::<usize>(), 0..4),
    ) {
        let mut modern = serde_json::to_value(&members).expect("an object");
        let expected = modern.clone();
        for (key, value) in [("resultType", "complete"), ("cacheScope", "public")] {
            modern[key] = value.into();
        }
        let raw = Bytes::from(modern.to_string());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % raw.len()).collect();
        cuts.extend([0, raw.len()]);
        cuts.sort_unstable();
        let mut payload = Payload::default();
        cuts.windows(2).for_each(|pair| payload.push(raw.slice(pair[0]..pair[1])));
        for version in ALL {
            for method in [Method::ToolsCall, Method::ToolsList, Method::PromptsGet] {
                let out = text(&result(method, *version, &payload));
                let got: serde_json::Value = serde_json::from_str(&out).expect("JSON");
                prop_assert_eq!(&got, &expected);
            }
        }
    }
}
