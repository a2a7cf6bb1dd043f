use std::time::Duration;

use super::{Content, End, Era, Incoming, UNKNOWN_IN_CONTENT, UNKNOWN_IN_RESULT};

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

fn play(era: Era, message: &str) -> (Vec<String>, End) {
    let request: Incoming<'_> = serde_json::from_str(message).unwrap();
    let content = Content {
        era,
        misbehaves: false,
    };
    let script = content.script(&request, "{}", false);
    let notifications = script.steps.into_iter().map(|(_, message)| message);
    (notifications.collect(), script.end)
}

fn answer(era: Era, message: &str) -> String {
    match play(era, message).1 {
        End::Answer(_, answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_repeats_the_arguments_as_they_were_written() {
    let arguments = r#"{"b": 1.00, "a":"\u00e9é", "b": [ ]}"#;
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{{"name":"echo","arguments":{arguments},"_meta":{{{META}}}}}}}"#
    );
    let answer = answer(Era::Modern, &call);
    assert!(answer.contains(&format!(r#""arguments":{arguments},"#)));
    assert!(answer.contains(UNKNOWN_IN_RESULT) && answer.contains(UNKNOWN_IN_CONTENT));
    serde_json::from_str::<serde_json::Value>(&answer).unwrap();
}

#[test]
fn reports_carry_the_token_and_the_name_of_the_call() {
    let call = format!(
        r#"{{"id":1,"method":"tools/call","params":{{"name":"report","arguments":{{"n":2,"ms":3,"name":"me"}},"_meta":{{"progressToken":"t","io.modelcontextprotocol/logLevel":"info",{META}}}}}}}"#
    );
    let (notifications, end) = play(Era::Modern, &call);
    assert_eq!(notifications.len(), 4);
    assert!(notifications.iter().all(|text| text.contains(r#""me""#)));
    assert!(notifications[0].contains(r#""progressToken":"t","progress":1,"total":2"#));
    assert!(matches!(end, End::Answer(pause, _) if pause == Duration::from_millis(3)));
}

#[test]
fn each_era_refuses_what_the_other_says() {
    let bare = |method: &str| format!(r#"{{"id":1,"method":"{method}","params":{{}}}}"#);
    assert!(answer(Era::Modern, &bare("initialize")).contains("-32601"));
    assert!(answer(Era::Modern, &bare("tools/list")).contains("-32602"));
    assert!(answer(Era::Legacy, &bare("server/discover")).contains("-32601"));
    assert!(answer(Era::Legacy, &bare("initialize")).contains("2025-11-25"));
    assert!(answer(Era::Legacy, &bare("tools/list")).contains(r#""name":"echo""#));
}

#[test]
fn some_calls_never_end_well() {
    let call = |name: &str| {
        format!(
            r#"{{"id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{{"code":7}}}}}}"#
        )
    };
    assert_eq!(play(Era::Legacy, &call("hang")).1, End::Never);
    assert_eq!(play(Era::Legacy, &call("exit")).1, End::Exit(7));
    assert!(answer(Era::Legacy, &call("nothing")).contains("-32602"));
}
