//! Results whose content is converted, and what is kept of it.

mod caps;

use std::task::{Context, Poll};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_protocol::call::{Piece, Principal, ResultStream};
use switchboard_protocol::delivery::{Cap, Conversion, Over};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::CallError;
use switchboard_protocol::policy::TargetKind;

use super::*;
use crate::config::NamesConfig;
use crate::config::kept_results::KeptResultsConfig;

/// What results of a call are delivered with.
pub(super) struct Scene {
    pub(super) kept: Kept,
    schemas: Schemas,
    metrics: Metrics,
    backend: Arc<str>,
    call: Call,
    terms: Terms,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// Of a call of `b__t`.
    pub(super) fn new(image: Conversion, cap: Option<Cap>) -> Self {
        let conversions = Conversions {
            image,
            ..Conversions::default()
        };
        let terms = Terms {
            conversions,
            cap,
            ..Terms::default()
        };
        Self::of(Method::ToolsCall, &json!({ "name": "b__t" }), terms)
    }

    pub(super) fn of(method: Method, params: &Value, terms: Terms) -> Self {
        let message = json!({
            "jsonrpc": "2.0", "id": 1, "method": method.as_str(), "params": params,
        });
        let request = Envelope::parse(Bytes::from(message.to_string())).expect("valid");
        let principal = Arc::new(Principal::new("alice"));
        let folder = tempfile::tempdir().expect("a folder");
        let config = KeptResultsConfig {
            dir: Some(folder.path().to_owned()),
            ..KeptResultsConfig::default()
        };
        let kept = Kept::default();
        kept.configure(Some(&config), &NamesConfig::default());
        Self {
            kept,
            schemas: Schemas::default(),
            metrics: Metrics::new().expect("a registry"),
            backend: "b".into(),
            call: Call::new(request, method, principal, Version::LATEST),
            terms,
            _folder: folder,
        }
    }

    pub(super) fn delivery(&self) -> Delivery<'_> {
        Delivery {
            terms: &self.terms,
            call: &self.call,
            method: self.call.method,
            target: Target {
                kind: match self.call.method {
                    Method::PromptsGet => TargetKind::Prompt,
                    Method::ResourcesRead => TargetKind::Resource,
                    _ => TargetKind::Tool,
                },
                backend: "b",
                name: "b__t",
            },
            backend: &self.backend,
            tool: None,
            kept: &self.kept,
            schemas: &self.schemas,
            metrics: &self.metrics,
        }
    }

    async fn delivered(&self, outcome: Outcome) -> Value {
        match self.delivery().capped(outcome).await {
            Outcome::Complete(completed) => {
                serde_json::from_slice(&completed.result.into_contiguous()).expect("JSON")
            }
            other => panic!("{other:?}"),
        }
    }
}

/// JSON of all kinds, with all that strings may have.
pub(super) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,60}|[\\x00-\\x1f\"\\\\]{0,40}|(🦀|世|é){0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map("\\PC{0,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A result in pieces.
pub(super) struct Pieces {
    pub(super) text: Bytes,
    pub(super) each: usize,
}

impl ResultStream for Pieces {
    fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        let length = self.each.min(self.text.len());
        Poll::Ready(Ok(match length {
            0 => Piece::End { is_error: false },
            _ => Piece::Bytes(self.text.split_to(length)),
        }))
    }

    fn upper_bound(&self) -> Option<u64> {
        None
    }

    fn keep(&mut self, _: Box<dyn Send>) {}
}

/// A result with so many different images, each of this many bytes.
pub(super) fn images(count: usize, bytes: usize, before: &str) -> Bytes {
    let data = "A".repeat(bytes / 3 * 4 - 4);
    // Its type stands before its data, or nobody could tell in time what it is.
    let image =
        |at: usize| format!(r#",{{"type":"image","mimeType":"image/png","data":"{at:04}{data}"}}"#);
    let images: String = (0..count).map(image).collect();
    let text = json!({ "type": "text", "text": before });
    format!(r#"{{"content":[{text}{images}]}}"#).into()
}

fn whole(result: &Bytes) -> Outcome {
    Outcome::Complete(Completed {
        result: result.clone().into(),
        is_error: false,
    })
}

fn arriving(result: &Bytes) -> Outcome {
    Outcome::Arriving(Box::new(Pieces {
        text: result.clone(),
        each: 3000,
    }))
}

fn bytes(bytes: u64, over: Over) -> Option<Cap> {
    Some(Cap {
        bytes: Some(bytes),
        tokens: None,
        over,
    })
}

fn links(result: &Value) -> usize {
    let blocks = result["content"].as_array().expect("content").iter();
    let images = blocks.filter(|it| it["type"] == "resource_link" && it["mimeType"] == "image/png");
    images.count()
}

#[tokio::test]
async fn a_result_has_a_bounded_number_of_links_and_says_so() {
    let result = images(20, 3000, "before");
    let caps = [
        None,
        bytes(1 << 20, Over::Truncate),
        bytes(16 << 10, Over::Truncate),
    ];
    for (cap, outcome) in caps
        .iter()
        .flat_map(|cap| [(*cap, whole(&result)), (*cap, arriving(&result))])
    {
        if cap.is_none() && matches!(outcome, Outcome::Arriving(_)) {
            continue;
        }
        let scene = Scene::new(Conversion::Link, cap);
        let delivered = scene.delivered(outcome).await;
        assert_eq!(links(&delivered), 16, "{delivered}");
        assert_eq!(scene.kept.count(), 16);
        let last = delivered["content"][20]["text"].as_str().expect("a text");
        assert!(last.contains("of one result it keeps 16"), "{last}");
        // The same again leads to the same.
        let again = scene.delivered(whole(&result)).await;
        assert_eq!(again, delivered);
        assert_eq!(scene.kept.count(), 16);
    }
}

#[tokio::test]
async fn what_nobody_can_reach_after_a_cut_is_let_go() {
    let result = images(15, 3000, "before");
    for outcome in [whole(&result), arriving(&result)] {
        let scene = Scene::new(Conversion::Link, bytes(1500, Over::Truncate));
        let delivered = scene.delivered(outcome).await;
        let left = links(&delivered);
        assert!((1..15).contains(&left), "{delivered}");
        assert_eq!(scene.kept.count(), left);
    }
    // Refused, nothing is left; kept, what is kept leads to all of them.
    let scene = Scene::new(Conversion::Link, bytes(1500, Over::Refuse));
    let refused = scene.delivery().capped(whole(&result)).await;
    assert!(matches!(refused, Outcome::Failed(_)));
    assert_eq!(scene.kept.count(), 0);
    let scene = Scene::new(Conversion::Link, bytes(1500, Over::Handle));
    let delivered = scene.delivered(whole(&result)).await;
    assert!(links(&delivered) < 15, "{delivered}");
    assert_eq!(scene.kept.count(), 16);
}

/// Of what was read a half is let go for the structured content that follows; kept is all of it.
#[tokio::test]
async fn what_is_kept_leads_to_all_also_where_structured_content_took_the_room_of_it() {
    let before = images(15, 3000, &"x".repeat(900 << 10));
    let before = before.strip_suffix(b"]}").expect("the end of the content");
    let more = json!({ "type": "text", "text": "y".repeat(300 << 10) });
    let structured = json!({ "text": "z".repeat(1 << 20) });
    let behind = format!(r#",{more}],"structuredContent":{structured}}}"#);
    let result = [before, behind.as_bytes()].concat().into();
    let scene = Scene::new(Conversion::Link, bytes(1 << 20, Over::Handle));
    let delivered = scene.delivered(arriving(&result)).await;
    assert_eq!(links(&delivered), 0);
    let noted = delivered["structuredContent"]["text"].as_str();
    assert!(noted.is_some_and(|text| text.len() > 500 << 10));
    assert_eq!(scene.kept.count(), 16);
}

#[tokio::test]
async fn the_words_of_a_whole_result_are_there_though_its_structured_content_comes_first() {
    let rows: Vec<usize> = (0..100_000).collect();
    let structured = json!({ "rows": rows });
    let result = format!(
        r#"{{"structuredContent":{structured},"content":[{{"type":"text","text":"the reason"}}],"isError":true}}"#
    );
    let scene = Scene::new(Conversion::Keep, bytes(16 << 10, Over::Truncate));
    let outcome = Outcome::Complete(Completed {
        result: Bytes::from(result).into(),
        is_error: true,
    });
    let delivered = scene.delivered(outcome).await;
    assert_eq!(delivered["isError"], true);
    assert_eq!(delivered["content"][0]["text"], "the reason");
    let rows = delivered["structuredContent"]["rows"].as_array();
    assert!(rows.is_some_and(|rows| rows.len() > 1000));
}
