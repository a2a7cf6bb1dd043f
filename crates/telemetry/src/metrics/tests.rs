use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::labels::{
    BackendState, BreakerShown, CacheOutcome, FallbackOutcome, ListKind, Refusal, StoreFailure,
    ToolOutcome,
};

fn metrics() -> Metrics {
    Metrics::new().expect("the table of metrics is consistent")
}

/// Metrics with at least one child in every family.
fn all_in_use() -> Metrics {
    let metrics = metrics();
    metrics.server_operation(MethodLabel::ToolsCall, None, Duration::from_millis(15));
    let backend = metrics.backend("files");
    backend.operation(
        MethodLabel::ToolsCall,
        Some(ErrorType::Timeout),
        Duration::from_secs(60),
    );
    backend.set_state(BackendState::Ready);
    let _ = backend.processes();
    backend.looked_up(CacheOutcome::Hit);
    metrics.http_request(200);
    let _ = metrics.limit("limit", "per-user");
    metrics.redacted("secret", "files");
    metrics.result_capped("truncate", "files");
    let store = metrics.store();
    store.set_up(true);
    store.failed(StoreFailure::Timeout);
    metrics.count_tasks_with(|| 7);
    metrics.count_parked_calls_with(|| 3);
    metrics.count_cache_with(|| Some((4, 5)));
    metrics.count_dropped_with("logs", || 1);
    metrics.count_dropped_with("spans", || 2);
    metrics.set_health_round_interval(Duration::from_secs(30));
    backend.fell_back("others", FallbackOutcome::Served);
    let (name, tool): (Arc<str>, Arc<str>) = ("files".into(), "files__read".into());
    let [calls] = &metrics.tools().listed([(&name, &tool)].into_iter())[..] else {
        unreachable!("one is listed");
    };
    calls.ended(ToolOutcome::Ok, Duration::from_millis(15));
    // Its handle is the catalogue's from here on.
    metrics
}

fn all_observed() -> Observed {
    let mut observed = Observed::default();
    observed.backend(
        "files",
        BackendLoad {
            in_flight: 1,
            in_flight_max: 2,
            queued: 3,
            queued_max: 4,
        },
    );
    observed.endpoints("files", &[endpoint("", 1)]);
    let size = ListSize {
        items: 1,
        bytes: 400,
        tokens: 100,
    };
    observed.list("files", ListKind::Tools, size);
    observed.profile_list("", ListKind::Tools, size);
    let level = LimitLevel {
        size: 10,
        left: Some((4, 0)),
    };
    observed.limit("budget", "daily", "calls", level);
    observed.kept_results(1, 100);
    observed
}

fn endpoint(label: &str, calls: u64) -> EndpointObserved {
    let counts = AttemptCounts::default();
    (0..calls).for_each(|_| counts.count(None));
    EndpointObserved {
        label: label.to_owned(),
        state: BackendState::Ready,
        breaker: BreakerShown::Closed,
        in_flight: 0,
        ended: counts.totals(),
    }
}

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, reference()).expect("docs/metrics.md can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == reference(),
        "docs/metrics.md is out of date: run again with UPDATE=1"
    );
}

#[test]
fn the_table_and_the_registry_agree() {
    let mut registered = BTreeMap::new();
    for family in all_in_use().gather(all_observed()) {
        let metric = &family.get_metric()[0];
        let labels: Vec<_> = metric
            .get_label()
            .iter()
            .map(|pair| pair.name().to_owned())
            .collect();
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        registered.insert(family.name().to_owned(), (kind, labels));
    }
    let table = families::ALL
        .iter()
        .map(|family| {
            let mut labels: Vec<_> = family.labels.iter().map(ToString::to_string).collect();
            labels.sort_unstable();
            (family.name.to_owned(), (family.kind.to_owned(), labels))
        })
        .collect();
    assert_eq!(registered, table);
}

#[test]
fn operations_land_in_their_series() {
    let text = all_in_use().render();
    for line in [
        r#"mcp_server_operation_duration_seconds_bucket{error_type="",mcp_method_name="tools/call",le="0.01"} 0"#,
        r#"mcp_server_operation_duration_seconds_bucket{error_type="",mcp_method_name="tools/call",le="0.02"} 1"#,
        r#"mcp_client_operation_duration_seconds_count{error_type="timeout",mcp_method_name="tools/call",switchboard_backend="files"} 1"#,
        r#"switchboard_backend_state{backend="files",state="ready"} 1"#,
        r#"switchboard_backend_state{backend="files",state="starting"} 0"#,
        r#"switchboard_http_requests_total{status="200"} 1"#,
        r#"switchboard_telemetry_dropped_total{signal="spans"} 2"#,
        "switchboard_tasks 7",
        "# TYPE process_cpu_seconds_total counter",
    ] {
        assert!(text.lines().any(|each| each == line), "{line}\n{text}");
    }
}

#[test]
fn every_method_and_error_has_a_cell_of_its_own() {
    let metrics = metrics();
    let backend = metrics.backend("files");
    let errors: Vec<_> = std::iter::once(None)
        .chain(ErrorType::ALL.iter().copied().map(Some))
        .collect();
    for method in MethodLabel::ALL {
        for error in &errors {
            backend.operation(*method, *error, Duration::ZERO);
        }
    }
    let text = metrics.render();
    let ones = text
        .lines()
        .filter(|line| line.starts_with("mcp_client_operation_duration_seconds_count"))
        .filter(|line| line.ends_with(" 1"))
        .count();
    assert_eq!(ones, MethodLabel::ALL.len() * errors.len());
}

#[test]
fn a_server_does_not_count_the_callers_errors_as_its_own() {
    let metrics = metrics();
    for error in [ErrorType::InvalidParams, ErrorType::InternalError] {
        metrics.server_operation(MethodLabel::ToolsCall, Some(error), Duration::ZERO);
    }
    let text = metrics.render();
    assert!(!text.contains(r#"error_type="-32602""#), "{text}");
    assert!(text.contains(r#"error_type="-32603""#), "{text}");
}

#[test]
fn a_backend_asked_for_twice_is_one() {
    let metrics = metrics();
    metrics.backend("files").restarted();
    metrics.backend("files").restarted();
    let text = metrics.render();
    assert!(text.contains(r#"switchboard_backend_restarts_total{backend="files"} 2"#));
}

#[test]
fn gauges_fall_when_their_guard_is_dropped() {
    let metrics = metrics();
    let call = metrics.call_in_flight();
    let other = metrics.call_in_flight();
    drop(other);
    assert_eq!(metrics.calls_in_flight.get(), 1);
    drop(call);
    assert_eq!(metrics.calls_in_flight.get(), 0);
    let _connection = metrics.connection();
    let _stream = metrics.listen_stream();
    assert_eq!(
        (metrics.connections.get(), metrics.listen_streams.get()),
        (1, 1)
    );
}

#[test]
fn labels_from_outside_stay_in_their_set() {
    assert_eq!(ErrorType::from_code(-32602), ErrorType::InvalidParams);
    assert_eq!(ErrorType::from_code(504), ErrorType::GatewayTimeout);
    assert_eq!(ErrorType::from_code(-32099), ErrorType::Other);

    let metrics = metrics();
    for status in [0, 99, 600, u16::MAX] {
        metrics.http_request(status);
    }
    assert!(
        metrics
            .render()
            .contains(r#"switchboard_http_requests_total{status="500"} 4"#)
    );
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_reads_itself() {
    let text = metrics().render();
    for name in [
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_threads",
        "process_start_time_seconds",
    ] {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0), "{name}: {value:?}");
    }
}

#[test]
fn nothing_is_left_of_a_backend_that_is_gone() {
    let metrics = all_in_use();
    metrics.backend("others").refused(Refusal::Full);
    let old = metrics.backend("files");
    assert!(metrics.render().contains("\"files\""));
    metrics.forget_backend("files");
    // A call that has not ended yet is the first of its kind.
    old.operation(MethodLabel::PromptsGet, None, Duration::ZERO);
    drop(old);
    metrics.forget_ended_backend("files");
    metrics.tools().listed(std::iter::empty());
    let text = metrics.render();
    assert!(!text.contains("\"files\""), "{text}");
    assert!(text.contains("\"others\""), "{text}");
}

#[test]
fn a_backend_that_is_back_is_not_forgotten_with_the_one_before() {
    let metrics = metrics();
    let old = metrics.backend("files");
    old.restarted();
    metrics.forget_backend("files");
    let new = metrics.backend("files");
    new.restarted();
    drop(old);
    metrics.forget_ended_backend("files");
    let text = metrics.render();
    assert!(text.contains(r#"switchboard_backend_restarts_total{backend="files"} 1"#));
}

#[test]
fn limits_that_are_gone_are_not_shown() {
    let metrics = metrics();
    let _ = (metrics.limit("limit", "a"), metrics.limit("budget", "a"));
    metrics.retain_limits(|policy, name| (policy, name) == ("budget", "a"));
    let text = metrics.render();
    assert!(text.contains(r#"name="a",policy="budget""#), "{text}");
    assert!(!text.contains(r#"policy="limit""#), "{text}");
}

#[test]
fn a_list_costs_a_token_for_four_bytes_or_a_character_of_another_script() {
    let items = ["{\"name\":\"a\"}", "{\"name\":\"日本\"}"];
    let size = ListSize::of(items.iter().map(|item| item.as_bytes()));
    // Of 12 + 11 bytes of ASCII, and of two characters.
    let (bytes, tokens) = (29, 6 + 2);
    let expected = ListSize {
        items: 2,
        bytes,
        tokens,
    };
    assert_eq!(size, expected);
    assert_eq!(ListSize::of(std::iter::empty()), ListSize::default());
}

#[test]
fn no_two_endpoints_have_one_label_and_they_are_not_many() {
    let metrics = metrics();
    let mut endpoints = vec![endpoint("same:80", 1), endpoint("same:80", 2)];
    endpoints.extend((0..100).map(|n| endpoint(&format!("host{n}:80"), 1)));
    let mut observed = Observed::default();
    observed.endpoints("files", &endpoints);
    let text = metrics.render_with(observed);
    let calls = |label: &str| {
        let start = format!(
            r#"switchboard_endpoint_calls_total{{backend="files",endpoint="{label}",outcome="ok"}} "#
        );
        let mut values = text.lines().filter_map(|line| line.strip_prefix(&start));
        let value = values.next().map(str::to_owned);
        assert_eq!(values.next(), None, "{label}");
        value
    };
    assert_eq!(calls("same:80").as_deref(), Some("1"));
    assert_eq!(calls("same:80 #2").as_deref(), Some("2"));
    assert_eq!(calls("other").as_deref(), Some("38"));
    assert_eq!(calls("host62:80"), None);
}
