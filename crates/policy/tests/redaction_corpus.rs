//! How much of a labelled corpus of secrets is found, and that nothing is found where there is none.
//!
//! The corpus is made here, apart from the rules, from what issuers publish about their tokens, with a seed; no
//! token stands in the code. Results of real servers are in `tests/redaction/real_results.jsonl`.

#[path = "redaction/carriers.rs"]
mod carriers;
#[path = "redaction/tokens.rs"]
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use switchboard_policy::redaction::{Detector, PlaceRedactor, Secrets, token_types};
use switchboard_protocol::delivery::Redactor as _;
use switchboard_protocol::passage::Parts;

/// The least share of the tokens of each type, carrier and form that must be found.
const LEAST_RECALL: f64 = 0.98;
/// How many tokens of each type are put into each carrier.
const TOKENS_OF_TYPE: usize = 12;
const SEED: u64 = 0x5EED_0008;

fn redactor() -> PlaceRedactor {
    let types = token_types().into_iter().collect();
    let detector = Detector::new(&Secrets::default(), &types, &[]).expect("a detector");
    PlaceRedactor::new(Arc::new(detector), "corpus".into(), None)
}

/// A name for it, and what it makes of a text.
type Form = (&'static str, fn(&str) -> String);

/// How a carrier comes to be in a result.
const FORMS: [Form; 4] = [
    ("plain", str::to_owned),
    ("json", |text| {
        json!({ "status": 200, "body": text }).to_string()
    }),
    ("json in json", |text| {
        let inner = json!({ "message": text }).to_string();
        json!({ "records": [inner] }).to_string()
    }),
    ("url", |text| {
        format!(
            "https://proxy.example.com/go?to={}&n=1",
            carriers::url_escaped(text)
        )
    }),
];

/// The result of a tool with this text.
fn result(text: &str) -> String {
    json!({ "content": [{ "type": "text", "text": text }], "isError": false }).to_string()
}

/// Whether the secret can be read out of a result by whoever undoes the form.
fn has(result: &str, secret: &str) -> bool {
    let mut text = result.to_owned();
    for _ in 0..4 {
        if text.contains(secret) {
            return true;
        }
        // Escapes are undone where they stand, whatever is around them.
        text = carriers::unescaped(&text);
    }
    text.contains(secret)
}

fn whole(redactor: &PlaceRedactor, text: &str) -> String {
    let redacted = redactor.redact(Bytes::copy_from_slice(text.as_bytes()));
    String::from_utf8(redacted.to_vec()).expect("text")
}

fn in_two(redactor: &PlaceRedactor, text: &str, at: usize) -> String {
    let mut redaction = redactor.begin();
    let mut parts = Parts::default();
    redaction.push(Bytes::copy_from_slice(&text.as_bytes()[..at]), &mut parts);
    redaction.push(Bytes::copy_from_slice(&text.as_bytes()[at..]), &mut parts);
    redaction.finish(&mut parts);
    let mut out = Vec::new();
    while let Some(part) = parts.pop() {
        out.extend_from_slice(&part);
    }
    String::from_utf8(out).expect("text")
}

#[test]
fn tokens_are_found_in_every_carrier_and_form() {
    let redactor = redactor();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut missed = Vec::new();
    for kind in tokens::TYPES {
        for _ in 0..TOKENS_OF_TYPE {
            let token = (kind.make)(&mut random);
            let filler: String = (0..5).map(|_| random.lowercase()).collect();
            for (carrier, put) in carriers::CARRIERS {
                if kind.is_lines && !carriers::TAKES_LINES.contains(carrier) {
                    continue;
                }
                for (form, wrap) in FORMS {
                    let carried = put(kind.variable, &token.text, &filler);
                    let text = result(&wrap(&carried));
                    let redacted = whole(&redactor, &text);
                    let parsed: Result<Value, _> = serde_json::from_str(&redacted);
                    assert!(
                        parsed.is_ok(),
                        "{} in {carrier}, {form}: {redacted}",
                        kind.name
                    );
                    let is_found = !has(&redacted, &token.secret);
                    let (found, all) = counts.entry(kind.name).or_default();
                    *all += 1;
                    *found += usize::from(is_found);
                    if !is_found {
                        missed.push(format!("{} in {carrier}, {form}", kind.name));
                    }
                }
            }
        }
    }
    assert!(counts.len() >= 30, "{} types", counts.len());
    let mut poor = Vec::new();
    for (name, (found, all)) in &counts {
        let recall = *found as f64 / *all as f64;
        println!("{name}: {found} of {all}");
        if recall < LEAST_RECALL {
            poor.push(format!("{name}: {found} of {all}"));
        }
    }
    missed.dedup();
    assert!(poor.is_empty(), "{poor:#?}; {missed:#?}");
}

#[test]
fn what_is_found_does_not_depend_on_where_chunks_end() {
    let redactor = redactor();
    let mut random = fastrand::Rng::with_seed(SEED + 1);
    for kind in tokens::TYPES {
        for (carrier, put) in carriers::CARRIERS {
            if kind.is_lines && !carriers::TAKES_LINES.contains(carrier) {
                continue;
            }
            let token = (kind.make)(&mut random);
            let (form, wrap) = FORMS[random.usize(..FORMS.len())];
            let text = result(&wrap(&put(kind.variable, &token.text, "filler")));
            let expected = whole(&redactor, &text);
            // Every boundary in the short ones; in keys of many lines, some.
            let step = 1 + text.len() / 400;
            for at in (0..text.len()).step_by(step) {
                let redacted = in_two(&redactor, &text, at);
                assert_eq!(
                    redacted, expected,
                    "{} in {carrier}, {form}, cut at {at} of {text}",
                    kind.name
                );
            }
        }
    }
}

#[test]
fn nothing_is_found_in_results_of_real_servers() {
    let redactor = redactor();
    let recorded = include_str!("redaction/real_results.jsonl");
    let results: Vec<&str> = recorded.lines().collect();
    assert!(results.len() >= 500, "{} results", results.len());
    let mut findings = Vec::new();
    for (line, result) in (1..).zip(results) {
        let redacted = whole(&redactor, result);
        if let Some(at) = redacted.find("[redacted:").filter(|_| redacted != result) {
            let around = &redacted[redacted.floor_char_boundary(at.saturating_sub(80))..];
            findings.push(format!(
                "line {line}: …{}…",
                &around[..around.floor_char_boundary(160)]
            ));
        }
    }
    assert!(findings.is_empty(), "{findings:#?}");
}
