use super::*;

/// Marks what it is asked about.
struct Marks;

impl Edit for Marks {
    fn uri(&self, uri: &str) -> Option<String> {
        Some(format!("marked {uri}"))
    }

    fn meta(&self, _: &Bytes) -> Option<Vec<u8>> {
        None
    }

    fn upper_bound(&self, length: u64) -> u64 {
        length.saturating_mul(2)
    }
}

/// What becomes of a call's response that arrives in pieces of this size.
fn pass(text: &str, size: usize) -> Result<String, Refusal> {
    let text = Bytes::copy_from_slice(text.as_bytes());
    let mut passage = Passage::new(7, Method::ToolsCall, Marks);
    let mut parts = Parts::default();
    for start in (0..text.len()).step_by(size) {
        let end = text.len().min(start + size);
        passage.push(&text.slice(start..end), &mut parts)?;
    }
    passage.finish()?;
    let mut passed = Vec::new();
    while let Some(part) = parts.pop() {
        passed.extend_from_slice(&part);
    }
    Ok(String::from_utf8(passed).expect("a part of a text"))
}

fn with_content(content: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"result":{{"resultType":"complete","content":[{content}]}}}}"#
    )
}

fn far() -> String {
    "x".repeat(2 * MAX_HELD)
}

#[test]
fn the_form_decides_where_the_type_is_too_far_away() {
    let far = far();
    let content = format!(r#"{{"uri":"a:b","icons":["{far}"],"type":"resource_link"}}"#);
    let passed = pass(&with_content(&content), 1000).expect("passes");
    assert!(passed.contains(r#""uri":"marked a:b""#));
    let inner = format!(r#"{{"resource":{{"uri":"a:b","blob":"{far}"}},"type":"resource"}}"#);
    let passed = pass(&with_content(&inner), 1000).expect("passes");
    assert!(passed.contains(r#""uri":"marked a:b""#));
    // What is known in time is not guessed.
    let known = format!(r#"{{"uri":"a:b","type":"text","text":"{far}"}}"#);
    let passed = pass(&with_content(&known), 1000).expect("passes");
    assert!(passed.contains(r#""uri":"a:b""#));
}

#[test]
fn one_form_may_be_known_while_the_other_is_read() {
    let uri = "u".repeat(MAX_HELD);
    let content = format!(r#"{{"resource":{{"uri":"a:b"}},"uri":"{uri}","type":"resource"}}"#);
    let expected = content.replace("a:b", "marked a:b");
    let passed = pass(&with_content(&content), 1000).expect("passes");
    assert!(passed.contains(&expected));
}

#[test]
fn what_decides_is_bounded() {
    let far = far();
    let cases = [
        with_content(&format!(r#"{{"type":"resource_link","uri":"{far}"}}"#)),
        with_content(&format!(r#"{{"type":"{far}"}}"#)),
        with_content("1").replace("\"id\"", &format!("\"{far}\":1,\"id\"")),
        with_content("1").replace(
            "\"content\"",
            &format!("\"_meta\":\"{}\",\"content\"", far.repeat(9)),
        ),
    ];
    for text in cases {
        let refused = pass(&text, 1000);
        assert!(matches!(refused, Err(Refusal::Unusual(_))), "{refused:?}");
    }
}

#[test]
fn passes_only_from_the_middle_of_what_may_be_large() {
    let may_pass = |text: String| may_pass(&Bytes::from(text), 7, Method::ToolsCall);
    let begin = |text: &str| may_pass(format!("{{\"jsonrpc\":\"2.0\",{text}"));
    assert_eq!(
        begin(r#""id":7,"result":{"content":[{"type":"te"#),
        Ok(true)
    );
    assert_eq!(begin(r#""result":{"structuredContent":{"a":["#), Ok(true));
    assert_eq!(
        begin(r#""id":7,"result":{"resultType":"complete","content":[],"isError""#),
        Ok(false)
    );
    assert_eq!(
        begin(r#""id":7,"result":{"resultType":"input_required","content":["#),
        Ok(false)
    );
    assert_eq!(begin(r#""id":7,"result":{"_meta":{"a":"#), Ok(false));
    assert_eq!(begin(r#""id":7,"error":{"message":""#), Ok(false));
    assert_eq!(begin(r#""method":"x","params":{"#), Ok(false));
    assert_eq!(
        begin(r#""id":8,"result":{"content":["#),
        Err(Refusal::OtherId)
    );
    assert!(matches!(
        begin(r#""id":7 "#.repeat(2).as_str()),
        Err(Refusal::Envelope(_))
    ));
}

#[test]
fn small_parts_are_put_together_in_their_order() {
    let mut parts = Parts::default();
    let large = Bytes::from(vec![b'l'; 10_000]);
    for part in [
        b"a"[..].into(),
        b"b"[..].into(),
        large.clone(),
        Bytes::new(),
        b"c"[..].into(),
    ] {
        parts.push(part);
    }
    assert_eq!(parts.len(), 10_003);
    assert_eq!(parts.pop().as_deref(), Some(&b"ab"[..]));
    assert_eq!(parts.pop(), Some(large));
    parts.push(Bytes::from_static(b"d"));
    assert_eq!(parts.pop().as_deref(), Some(&b"cd"[..]));
    assert_eq!(parts.pop(), None);
    assert!(parts.is_empty());
}
