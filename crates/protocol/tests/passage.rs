//! The check of [`checks::PASSAGE`] on responses that are put together of what matters to it.

pub mod checks;

use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    r#"[a-z:世\u{e9} \n"\\]{0,12}"#.prop_map(|text| serde_json::json!(text).to_string())
}

fn object(members: &[String]) -> String {
    format!("{{{}}}", members.join(","))
}

/// Members in any order, some missing, some twice.
fn members(each: Vec<BoxedStrategy<String>>) -> impl Strategy<Value = String> {
    let count = each.len();
    let picks = proptest::collection::vec(0..count, 0..=count);
    (each, picks).prop_map(|(each, mut picks)| {
        // Doubled ones are rare enough for most objects to be good.
        if picks.len() % 4 != 0 {
            let mut seen = Vec::new();
            picks.retain(|pick| {
                !seen.contains(pick) && {
                    seen.push(*pick);
                    true
                }
            });
        }
        object(
            &picks
                .into_iter()
                .map(|pick| each[pick].clone())
                .collect::<Vec<_>>(),
        )
    })
}

fn member(
    key: &'static str,
    value: impl Strategy<Value = String> + 'static,
) -> BoxedStrategy<String> {
    let space = prop_oneof![4 => Just(""), 1 => Just(" \n")];
    (space, value)
        .prop_map(move |(space, value)| format!("{space}\"{key}\"{space}:{space}{value}{space}"))
        .boxed()
}

fn one_of(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(values).prop_map(str::to_owned)
}

fn block() -> impl Strategy<Value = String> {
    let kinds = &[
        "\"text\"",
        "\"resource\"",
        "\"resource_link\"",
        "\"resource\\u005flink\"",
        "1",
    ];
    let resource = members(vec![
        member("uri", text()),
        member("blob", text()),
        member("uri", text()),
    ]);
    members(vec![
        member("type", one_of(kinds)),
        member("uri", text()),
        member("text", text()),
        member("resource", resource),
        member("t\\u0079pe", one_of(kinds)),
    ])
}

fn result() -> impl Strategy<Value = String> {
    let blocks = proptest::collection::vec(block(), 0..4);
    let content = blocks.prop_map(|blocks| format!("[{}]", blocks.join(" , ")));
    let messages = proptest::collection::vec(
        members(vec![
            member("content", block()),
            member("role", text()),
            member("content", block()),
        ]),
        0..3,
    );
    let messages = messages.prop_map(|messages| format!("[{}]", messages.join(",")));
    let meta = members(vec![
        member("a/b", text()),
        member("dev.switchboard/x", text()),
        member("ui", one_of(&["{\"resourceUri\":\"a:b\"}"])),
    ]);
    members(vec![
        member("content", content),
        member("messages", messages),
        member("isError", one_of(&["true", "false", "\"true\""])),
        member(
            "resultType",
            one_of(&["\"complete\"", "\"c\\u006fmplete\"", "\"task\""]),
        ),
        member("_meta", meta),
        member(
            "structuredContent",
            one_of(&["{\"content\":[{\"uri\":1}]}", "-1.5e3"]),
        ),
        member("ttlMs", one_of(&["5"])),
        member("isErr\\u006fr", one_of(&["true"])),
    ])
}

fn response() -> impl Strategy<Value = String> {
    let id =
        prop_oneof![6 => Just("7"), 1 => Just("8"), 1 => Just("\"7\"")].prop_map(str::to_owned);
    let version = prop_oneof![9 => Just("\"2.0\""), 1 => Just("\"2\"")].prop_map(str::to_owned);
    let rest = prop_oneof![
        6 => Just(String::new()),
        1 => one_of(&[",\"x\":[1]", ",\"x\":1,\"x\":2", ",\"ID\":7", ",\"params\":{}", ",\"error\":{}", "}"]),
    ];
    let all = [
        member("id", id),
        member("jsonrpc", version),
        member("result", result()),
    ];
    (all, 0usize..3, rest).prop_map(|(mut all, turn, rest)| {
        all.rotate_left(turn);
        format!("{{{}{rest}}}", all.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_response_in_pieces_becomes_what_the_whole_one_would(method in 0u8..3, size in 0u8..80, response in response()) {
        (checks::PASSAGE.run)(&[&[method, size], response.as_bytes()].concat());
    }
}
