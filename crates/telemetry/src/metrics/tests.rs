use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;

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
    metrics
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
    for family in all_in_use().registry.gather() {
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
    for method in MethodLabel::ALL {
        assert_eq!(MethodLabel::from_method(method.as_str()), *method);
    }
    assert_eq!(MethodLabel::from_method("tools/call "), MethodLabel::Other);
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
