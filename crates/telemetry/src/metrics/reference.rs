//! docs/metrics.md: the table of all metrics, and the values of their labels.

use std::fmt::Write as _;

use super::families::{self, Family};
use super::{ACCESS, BUCKETS};
use crate::labels::{
    AttemptOutcome, AuditDrop, AuthOutcome, BackendState, BreakerShown, BreakerTurn, CacheOutcome,
    ClientVersion, ErrorType, FallbackOutcome, ForwardOutcome, IgnoredMessage, LimitDecision,
    ListKind, MethodLabel, PolicyDecision, Refusal, ReloadResult, Retry, ShedReason, StoreFailure,
    ToolOutcome,
};

/// The reference of all metrics as Markdown, the text of docs/metrics.md.
pub fn reference() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Served in the Prometheus text format on `/metrics` of `server.ops_listen`. This page is generated from the code: \
         `UPDATE=1 cargo nextest run -p switchboard-telemetry reference` rewrites it.\n\n\
         No label takes a value that a client chooses. `backend`, `switchboard_backend`, `to`, `name` and `profile` are names from the \
         configuration; `profile` is empty for the endpoint without one. `endpoint` is the host and port of one of a backend's endpoints, \
         as configured or found, or `instance N`; it is empty where there is but one, and those of a backend beyond the first 64 are \
         `other` together. `tool` is a name that the gateway lists, once the tool was called; beyond 400 tools, and for those whose names \
         have more than 128 bytes, those of a backend are `other` together. The series of a backend, limit, budget or tool that is \
         there no longer go with it.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for family in families::ALL {
        let labels: Vec<_> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            family.name,
            family.kind,
            labels.join(", "),
            family.help
        );
    }
    let buckets: Vec<_> = BUCKETS.iter().map(ToString::to_string).collect();
    let _ = write!(
        text,
        "\nBuckets of the histograms, in seconds: {}.\n\n| label | values |\n|---|---|\n",
        buckets.join(", ")
    );
    for (label, family, values) in closed_labels() {
        let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        let of = family.map_or(String::new(), |family| format!(" of `{}`", family.name));
        let _ = writeln!(text, "| `{label}`{of} | {} |", values.join(", "));
    }
    text.push_str("| `era` | `legacy` (2025-11-25 and older), `modern` |\n");
    text.push_str("| `status` | a status code that the gateway answers with, such as `200`, `401` or `503` |\n");
    text
}

/// The labels with a closed set of values, for the reference: each with the metric that it belongs
/// to, where others have one of the same name.
fn closed_labels() -> Vec<(&'static str, Option<&'static Family>, Vec<&'static str>)> {
    fn values<T: Copy>(all: &[T], as_str: fn(T) -> &'static str) -> Vec<&'static str> {
        all.iter().copied().map(as_str).collect()
    }
    vec![
        (
            "mcp_method_name",
            None,
            values(MethodLabel::ALL, MethodLabel::as_str),
        ),
        (
            "error_type",
            None,
            values(ErrorType::ALL, ErrorType::as_str),
        ),
        (
            "outcome",
            Some(&families::CACHE),
            values(CacheOutcome::ALL, CacheOutcome::as_str),
        ),
        (
            "outcome",
            Some(&families::FORWARDED),
            values(ForwardOutcome::ALL, ForwardOutcome::as_str),
        ),
        (
            "outcome",
            Some(&families::ENDPOINT_CALLS),
            values(AttemptOutcome::ALL, AttemptOutcome::as_str),
        ),
        (
            "outcome",
            Some(&families::TOOL_CALLS),
            values(ToolOutcome::ALL, ToolOutcome::as_str),
        ),
        (
            "outcome",
            Some(&families::FALLBACKS),
            values(FallbackOutcome::ALL, FallbackOutcome::as_str),
        ),
        (
            "outcome",
            Some(&families::AUTHENTICATIONS),
            values(AuthOutcome::ALL, AuthOutcome::as_str),
        ),
        (
            "state",
            Some(&families::BACKEND_STATE),
            values(BackendState::ALL, BackendState::as_str),
        ),
        (
            "state",
            Some(&families::ENDPOINT_STATE),
            values(BackendState::ALL, BackendState::as_str),
        ),
        (
            "state",
            Some(&families::ENDPOINT_BREAKER),
            values(BreakerShown::ALL, BreakerShown::as_str),
        ),
        ("list", None, values(ListKind::ALL, ListKind::as_str)),
        ("over", None, vec!["truncate", "handle", "refuse"]),
        (
            "kind",
            None,
            values(IgnoredMessage::ALL, IgnoredMessage::as_str),
        ),
        (
            "reason",
            Some(&families::AUDIT_DROPPED),
            values(AuditDrop::ALL, AuditDrop::as_str),
        ),
        (
            "reason",
            Some(&families::BACKEND_REFUSED),
            values(Refusal::ALL, Refusal::as_str),
        ),
        (
            "reason",
            Some(&families::SHED),
            values(ShedReason::ALL, ShedReason::as_str),
        ),
        ("policy", Some(&families::POLICY_DECISIONS), vec![ACCESS]),
        (
            "decision",
            Some(&families::POLICY_DECISIONS),
            values(PolicyDecision::ALL, PolicyDecision::as_str),
        ),
        (
            "reason",
            Some(&families::STORE_FAILURES),
            values(StoreFailure::ALL, StoreFailure::as_str),
        ),
        (
            "policy",
            Some(&families::LIMIT_DECISIONS),
            vec!["limit", "budget"],
        ),
        (
            "decision",
            Some(&families::LIMIT_DECISIONS),
            values(LimitDecision::ALL, LimitDecision::as_str),
        ),
        (
            "measure",
            None,
            vec!["rate", "concurrency", "calls", "bytes", "cost"],
        ),
        (
            "version",
            Some(&families::CLIENT_CALLS),
            values(ClientVersion::ALL, ClientVersion::as_str),
        ),
        (
            "result",
            Some(&families::BACKEND_RETRIES),
            values(Retry::ALL, Retry::as_str),
        ),
        (
            "result",
            Some(&families::CONFIG_RELOADS),
            values(ReloadResult::ALL, ReloadResult::as_str),
        ),
        ("to", None, values(BreakerTurn::ALL, BreakerTurn::as_str)),
        ("signal", None, vec!["logs", "spans"]),
    ]
}
