//! Whatever comes of a result under whatever cap, however it arrives, is one that the protocol knows, and at
//! most the cap.

use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use switchboard_protocol::error::{Fault, Reason};
use switchboard_protocol::size::Size;
use tokio::runtime::Runtime;

use super::*;

/// The largest result that is made, in bytes.
const LARGEST: usize = 600 * 1024;
/// The least and the most of the caps: what a configuration may say at least, and 256 KiB.
const LEAST_BYTES: u64 = 1024;
const LEAST_TOKENS: u64 = 256;
const MOST_BYTES: u64 = 256 * 1024;
const MOST_TOKENS: u64 = MOST_BYTES / 4;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// The schema of a definition of a version of the protocol, as far as it is kept here.
fn validator(version: &str, name: &str, add: Option<Value>) -> Validator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/testdata/mcp-schema");
    let text = std::fs::read(folder.join(format!("{version}.json"))).expect("a schema");
    let mut schema: Value = serde_json::from_slice(&text).expect("JSON");
    if let Some(add) = add {
        schema["$defs"][name] = add;
    }
    schema["$ref"] = format!("#/$defs/{name}").into();
    jsonschema::options().build(&schema).expect("a schema")
}

/// Those of results in both eras.
static PUBLISHED: LazyLock<[[Validator; 2]; 3]> = LazyLock::new(|| {
    let of = |name, add: Option<Value>| {
        [
            validator("2026-07-28", name, add),
            validator("2025-11-25", name, None),
        ]
    };
    // Not among what is kept of 2026-07-28, but what it consists of is.
    let contents = ["TextResourceContents", "BlobResourceContents"];
    let contents = contents.map(|name| json!({ "$ref": format!("#/$defs/{name}") }));
    let read = json!({
        "type": "object",
        "properties": {
            "_meta": { "$ref": "#/$defs/ResultMetaObject" },
            "resultType": { "type": "string" },
            "contents": { "type": "array", "items": { "anyOf": contents } },
            "ttlMs": { "type": "integer", "minimum": 0 },
            "cacheScope": { "enum": ["private", "public"] },
        },
        "required": ["resultType", "contents", "ttlMs", "cacheScope"],
    });
    [
        of("CallToolResult", None),
        of("GetPromptResult", None),
        of("ReadResourceResult", Some(read)),
    ]
});

fn published(method: Method) -> &'static [Validator] {
    match method {
        Method::ToolsCall => &PUBLISHED[0],
        Method::PromptsGet => &PUBLISHED[1],
        _ => &PUBLISHED[2],
    }
}

/// What long texts are made of, since their JSON differs in length and in what may be cut.
const UNITS: [&str; 11] = [
    "a",
    "some words, ",
    "\"",
    "\\",
    "\n",
    "\u{1}",
    "é",
    "世",
    "🦀",
    "{\"a\":[1,2]},",
    "ab世\"\n",
];

/// A piece of a result: of which kind, of what its text is made, and how much of the result it is.
#[derive(Clone, Copy, Debug)]
struct Part {
    kind: usize,
    unit: &'static str,
    share: f64,
}

fn part() -> impl Strategy<Value = Part> {
    (
        0..11_usize,
        proptest::sample::select(&UNITS[..]),
        0.0..1.0_f64,
    )
        .prop_map(|(kind, unit, share)| Part { kind, unit, share })
}

impl Part {
    fn text(&self, size: usize) -> String {
        let size = (size as f64 * self.share) as usize;
        self.unit.repeat(size / self.unit.len())
    }

    fn base64(&self, size: usize) -> String {
        "QUJD".repeat((size as f64 * self.share) as usize / 4)
    }

    fn contents(&self, size: usize) -> Value {
        match self.kind % 4 {
            0 => json!({ "uri": "file:///c", "blob": self.base64(size) }),
            1 => json!({ "uri": "file:///d", "blob": self.base64(size), "mimeType": "x/y" }),
            2 => json!({ "text": self.text(size), "uri": "file:///b", "mimeType": "text/x" }),
            _ => json!({ "uri": format!("x:{}", self.text(size / 4)), "text": self.text(size) }),
        }
    }

    fn block(&self, size: usize) -> Value {
        match self.kind {
            0 | 1 => json!({ "type": "text", "text": self.text(size) }),
            2 => json!({
                "type": "text", "text": self.text(size), "_meta": { "a/b": 1 },
                "annotations": { "audience": ["user"], "priority": 0.5 },
            }),
            3 => json!({ "type": "image", "data": self.base64(size), "mimeType": "image/png" }),
            4 => json!({ "data": self.base64(size), "mimeType": "audio/wav", "type": "audio" }),
            5 => json!({ "type": "resource_link", "name": self.text(size / 8), "uri": "a:b" }),
            6 => json!({ "type": "hologram", "text": 5 }),
            _ => json!({ "type": "resource", "resource": self.contents(size) }),
        }
    }

    fn structured(&self, size: usize) -> Value {
        let text = self.text(size / 4);
        let most = (size / 40).min(4000);
        match self.kind % 5 {
            0 => {
                json!({ "total": 1, "rows": (0..most).map(|id| json!({ "id": id, "of": [id, self.unit] })).collect::<Vec<_>>() })
            }
            1 => json!({ "long": text, "more": [text, text], "end": true }),
            2 => (0..most.min(500))
                .map(|key| (format!("key {key}"), json!(self.unit)))
                .collect(),
            3 => json!((0..40).fold(
                json!(text),
                |inner, level| json!({ "level": level, "in": [inner, 1.5] })
            )),
            _ => json!({}),
        }
    }
}

/// A call, and the result that it has.
#[derive(Clone, Debug)]
struct Made {
    method: Method,
    params: Value,
    result: Value,
}

/// What there is beside the parts of a result.
type Beside = (Option<bool>, Option<Part>, Option<Part>, usize);

fn made(
    which: usize,
    parts: &[Part],
    (is_error, structured, extra, uri): Beside,
    size: usize,
) -> Made {
    let each = size / parts.len().max(1) * 2;
    let mut result = json!({ "resultType": "complete" });
    let (method, params) = match which {
        0 => {
            let messages = parts.iter().map(|part| {
                let role = if part.kind % 2 == 0 {
                    "user"
                } else {
                    "assistant"
                };
                json!({ "content": part.block(each), "role": role })
            });
            result["messages"] = messages.collect();
            if let Some(part) = structured {
                result["description"] = part.text(size).into();
            }
            (Method::PromptsGet, json!({ "name": "b__p" }))
        }
        1 => {
            result["contents"] = parts.iter().map(|part| part.contents(each)).collect();
            result["ttlMs"] = json!(5);
            result["cacheScope"] = json!("public");
            let uri = format!("file:///{}", "u".repeat(uri));
            (Method::ResourcesRead, json!({ "uri": uri }))
        }
        _ => {
            result["content"] = parts.iter().map(|part| part.block(each)).collect();
            if let Some(part) = structured {
                result["structuredContent"] = part.structured(size);
            }
            if let Some(is_error) = is_error {
                result["isError"] = is_error.into();
            }
            (Method::ToolsCall, json!({ "name": "b__t" }))
        }
    };
    if let Some(part) = extra {
        result["_meta"] = json!({ "x/y": part.text(size / 8) });
        result["extra"] = part.text(size / 8).into();
    }
    Made {
        method,
        params,
        result,
    }
}

fn any_cap() -> impl Strategy<Value = Cap> {
    let bytes = prop_oneof![
        Just(LEAST_BYTES),
        LEAST_BYTES..1500,
        1500_u64..8000,
        8000_u64..65_536,
        65_536..=MOST_BYTES,
        Just(MOST_BYTES),
    ];
    let tokens = prop_oneof![
        Just(LEAST_TOKENS),
        LEAST_TOKENS..400,
        400_u64..2000,
        2000_u64..16_384,
        16_384..=MOST_TOKENS,
    ];
    let some = prop_oneof![
        bytes.clone().prop_map(|bytes| (Some(bytes), None)),
        tokens.clone().prop_map(|tokens| (None, Some(tokens))),
        (bytes, tokens).prop_map(|(bytes, tokens)| (Some(bytes), Some(tokens))),
    ];
    let over = prop_oneof![Just(Over::Truncate), Just(Over::Handle)];
    (some, over).prop_map(|((bytes, tokens), over)| Cap {
        bytes,
        tokens,
        over,
    })
}

/// About how large a result is that just has such a cap.
fn about(cap: &Cap) -> usize {
    let of_tokens = cap.tokens.map(|tokens| tokens * 4);
    let least = [cap.bytes, of_tokens].into_iter().flatten().min();
    least
        .and_then(|it| usize::try_from(it).ok())
        .unwrap_or_default()
}

fn any_made(cap: &Cap) -> impl Strategy<Value = Made> + use<> {
    let about = about(cap);
    let beside = (
        any::<Option<bool>>(),
        proptest::option::of(part()),
        proptest::option::of(part()),
        prop_oneof![Just(1_usize), Just(100), Just(1500)],
    );
    let parts = proptest::collection::vec(part(), 0..7);
    (0..5_usize, parts, beside, 0.1..4.0_f64).prop_map(move |(which, parts, beside, factor)| {
        let size = (about as f64 * factor) as usize;
        made(which, &parts, beside, size.min(LARGEST))
    })
}

fn conversions() -> impl Strategy<Value = Conversions> {
    let one = || {
        prop_oneof![
            6 => Just(Conversion::Keep),
            1 => Just(Conversion::Drop),
            1 => Just(Conversion::Link),
        ]
    };
    (one(), one(), one()).prop_map(|(image, audio, blob)| Conversions { image, audio, blob })
}

/// How a result comes.
#[derive(Clone, Copy, Debug)]
enum Coming {
    Whole,
    /// In so many pieces.
    Arriving(usize),
    /// The same, and breaks off after this part of it.
    BreakingOff(usize, f64),
}

fn coming() -> impl Strategy<Value = Coming> {
    prop_oneof![
        Just(Coming::Whole),
        (1..60_usize).prop_map(Coming::Arriving),
        (1..60_usize, 0.0..1.0_f64).prop_map(|(pieces, at)| Coming::BreakingOff(pieces, at)),
    ]
}

/// A result that breaks off behind its last piece.
struct Broken(Pieces);

impl ResultStream for Broken {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        match self.0.text.is_empty() {
            true => Poll::Ready(Err(
                Fault::unknown(Reason::Unavailable, "it broke off").into()
            )),
            false => self.0.poll_piece(context),
        }
    }

    fn upper_bound(&self) -> Option<u64> {
        Some(self.0.text.len() as u64)
    }

    fn keep(&mut self, _: Box<dyn Send>) {}
}

impl Coming {
    fn outcome(self, result: &Bytes, is_error: bool) -> Outcome {
        let pieces = |text: &Bytes, count: usize| Pieces {
            text: text.clone(),
            each: (result.len() / count).max(1),
        };
        match self {
            Self::Whole => Outcome::Complete(Completed {
                result: result.clone().into(),
                is_error,
            }),
            Self::Arriving(count) => {
                Outcome::Arriving(Box::new(Erring(pieces(result, count), is_error)))
            }
            Self::BreakingOff(count, at) => {
                let length = (result.len() as f64 * at) as usize;
                let beginning = result.slice(..length);
                Outcome::Arriving(Box::new(Broken(pieces(&beginning, count))))
            }
        }
    }
}

/// A result that says at its end whether it is an error.
struct Erring(Pieces, bool);

impl ResultStream for Erring {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        match self.0.text.is_empty() {
            true => Poll::Ready(Ok(Piece::End { is_error: self.1 })),
            false => self.0.poll_piece(context),
        }
    }

    fn upper_bound(&self) -> Option<u64> {
        Some(self.0.text.len() as u64)
    }

    fn keep(&mut self, _: Box<dyn Send>) {}
}

/// Reads all of what is delivered: the result and whether it is an error; `None`: the call failed.
async fn taken(outcome: Outcome) -> Option<(Vec<u8>, bool)> {
    let mut stream = match outcome {
        Outcome::Complete(completed) => {
            let text = completed.result.into_contiguous();
            return Some((text.into(), completed.is_error));
        }
        Outcome::Arriving(stream) => stream,
        Outcome::Failed(_) => return None,
        other => panic!("{other:?}"),
    };
    let mut text = Vec::new();
    loop {
        match std::future::poll_fn(|context| stream.poll_piece(context)).await {
            Ok(Piece::Bytes(piece)) => text.extend_from_slice(&piece),
            Ok(Piece::End { is_error }) => return Some((text, is_error)),
            Err(_) => return None,
        }
    }
}

/// All texts of a result that a client shows.
fn texts(result: &Value) -> Vec<&str> {
    let items = ["content", "messages", "contents"].map(|key| result[key].as_array());
    let blocks = items.into_iter().flatten().flatten();
    let texts = blocks.filter_map(|block| {
        let block = if block["content"].is_object() {
            &block["content"]
        } else {
            block
        };
        let resource = block["resource"]["text"].as_str();
        block["text"].as_str().or(resource)
    });
    texts.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_delivered_is_a_result_and_at_most_the_cap(
        (cap, made) in any_cap().prop_flat_map(|cap| (Just(cap), any_made(&cap))),
        conversions in conversions(),
        coming in coming(),
    ) {
        let Made { method, params, result } = made;
        let text = Bytes::from(result.to_string());
        let is_error = result["isError"] == true;
        let terms = Terms { conversions, cap: Some(cap), ..Terms::default() };
        let delivered = RUNTIME.block_on(async {
            let scene = Scene::of(method, &params, terms);
            taken(scene.delivery().capped(coming.outcome(&text, is_error)).await).await
        });
        let is_broken = matches!(coming, Coming::BreakingOff(..));
        let Some((delivered, is_error_now)) = delivered else {
            prop_assert!(is_broken, "only what broke off fails");
            return Ok(());
        };
        let size = Size::of_result(&delivered);
        prop_assert!(size.is_within(cap.most()), "{size:?} is more than {cap}");
        let value: Value = serde_json::from_slice(&delivered).expect("JSON");
        prop_assert_eq!(value["isError"] == true, is_error_now);
        let told = &value["_meta"]["dev.switchboard/truncated"];
        if told.is_null() {
            prop_assert!(!is_broken, "what broke off says so");
            // Nothing of it is missing.
            let is_same = delivered == text || !conversions.is_none();
            prop_assert!(is_same && is_error == is_error_now);
            return Ok(());
        }
        prop_assert!(!Size::of_result(&text).is_within(cap.most()) || !conversions.is_none());
        for validator in published(method) {
            if let Some(error) = validator.iter_errors(&value).next() {
                prop_assert!(false, "{} at {}", error, error.instance_path());
            }
        }
        prop_assert_eq!(&value["resultType"], "complete");
        prop_assert_eq!(&told["maxBytes"], &json!(cap.bytes));
        prop_assert_eq!(&told["maxTokens"], &json!(cap.tokens));
        prop_assert_eq!(told["uri"].is_string(), cap.over == Over::Handle, "{}", told);
        // What is known to have failed is never told as a success.
        let is_read = matches!(coming, Coming::Whole) || (cap.over == Over::Handle && !is_broken);
        prop_assert!(is_error_now || !(is_read && is_error));
        if method == Method::ResourcesRead {
            prop_assert_eq!((&value["ttlMs"], &value["cacheScope"]), (&json!(0), &json!("private")));
        }
        // Text is cut at its end, and nothing else is put in but what the gateway says.
        let before = texts(&result);
        for text in texts(&value) {
            // What takes the place of content may be cut like any other.
            let mut own = ["[The gateway cut this", "[Here "].iter();
            let is_own = own.any(|own| text.starts_with(own) || own.starts_with(text));
            prop_assert!(is_own || before.iter().any(|it| it.starts_with(text)), "{}", text);
        }
    }
}
