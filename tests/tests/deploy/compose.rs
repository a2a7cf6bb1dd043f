//! `docker-compose.yml`, as Docker Compose itself understands it.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use switchboard_tests::tools;
use tempfile::TempDir;

use crate::{ended, in_repository, is_pinned, items, output_of, read, switchboard, text};

/// The variables that `deploy/make-secrets env` writes.
fn secrets() -> BTreeMap<String, String> {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("env");
    let make = in_repository("deploy/make-secrets");
    output_of(Command::new(&make).arg("env").arg(&file));
    let written = read(&file);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&file).expect("it is there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    // What is there stays.
    assert!(
        !ended(Command::new(&make).arg("env").arg(&file))
            .status
            .success()
    );
    assert_eq!(read(&file), written);
    let lines = written.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn compose(variables: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(tools::deploy("docker-compose"));
    command
        .env_clear()
        .envs(variables)
        .current_dir(tools::repository())
        // A developer's own `.env` is none of the test's.
        .args([
            "--env-file",
            "/dev/null",
            "-f",
            "docker-compose.yml",
            "config",
        ]);
    command
}

/// The file with all its variables filled in.
fn filled_in() -> Value {
    let text = output_of(compose(&secrets()).args(["--format", "json"]));
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn every_secret_is_asked_for_and_none_has_a_default() {
    let all = secrets();
    for name in all.keys() {
        let mut others = all.clone();
        others.remove(name);
        let output = ended(&mut compose(&others));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "without {name}");
        assert!(said.contains(name.as_str()), "without {name}: {said}");
    }
    let example = read(&in_repository(".env.example"));
    for name in all.keys() {
        assert!(
            example.contains(&format!("\n{name}=")),
            "{name} in .env.example"
        );
    }
}

#[test]
fn services_are_held_and_only_loopback_is_published() {
    let file = filled_in();
    let services = file["services"].as_object().expect("services");
    for expected in [
        "switchboard",
        "notes",
        "toolbox",
        "redis",
        "prometheus",
        "grafana",
        "otel-collector",
        "jaeger",
    ] {
        assert!(services.contains_key(expected), "{expected}");
    }
    for (name, service) in services {
        assert!(
            is_pinned(text(&service["image"])),
            "{name}: {}",
            service["image"]
        );
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        let options: Vec<&str> = items(&service["security_opt"]).map(text).collect();
        assert_eq!(options, ["no-new-privileges:true"], "{name}");
        assert!(service["privileged"].is_null(), "{name}");
        let limits = &service["deploy"]["resources"]["limits"];
        for limit in ["cpus", "memory", "pids"] {
            assert!(!limits[limit].is_null(), "{name} has no limit of {limit}");
        }
        assert!(
            !service["logging"]["options"]["max-size"].is_null(),
            "{name}"
        );
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        for port in items(&service["ports"]) {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}: {port}");
        }
        // Its image has no program that could look.
        if name != "otel-collector" {
            assert!(service["healthcheck"]["test"].is_array(), "{name}");
        }
        for volume in items(&service["volumes"]) {
            if volume["type"] != "bind" {
                continue;
            }
            assert_eq!(volume["read_only"], true, "{name}: {volume}");
            let source = std::path::Path::new(text(&volume["source"]));
            assert!(source.is_dir(), "{name}: {volume} is no folder");
        }
    }
    assert!(services["redis"]["ports"].is_null());
    // Prometheus finds the gateway by name: by one address, or it counts everything twice.
    let networks = |service: &str| -> Vec<String> {
        let named = services[service]["networks"].as_object().expect("networks");
        named.keys().cloned().collect()
    };
    let gateway = networks("switchboard");
    let shared = networks("prometheus")
        .into_iter()
        .filter(|network| gateway.contains(network));
    assert_eq!(shared.count(), 1);
    for network in ["servers", "state", "watch"] {
        assert_eq!(file["networks"][network]["internal"], true, "{network}");
    }
}

#[test]
fn what_grafana_is_given_is_there() {
    let folder = in_repository("deploy/compose/grafana/provisioning");
    for file in ["datasources/datasources.yaml", "dashboards/dashboards.yaml"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let file = filled_in();
    let grafana = &file["services"]["grafana"];
    let home = text(&grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]);
    let dashboards = in_repository("deploy/grafana");
    let name = home.rsplit('/').next().expect("a file");
    assert!(dashboards.join(name).is_file(), "{home}");
}

#[test]
fn the_gateway_of_the_compose_file_has_a_valid_configuration() {
    let file = filled_in();
    let service = &file["services"]["switchboard"];
    let arguments: Vec<&str> = items(&service["command"]).map(text).collect();
    assert_eq!(
        arguments,
        ["serve", "-c", "/etc/switchboard/config/production.yaml"]
    );
    let mounted =
        items(&service["volumes"]).any(|volume| volume["target"] == "/etc/switchboard/config");
    assert!(mounted);
    let environment = service["environment"].as_object().expect("variables");
    let variables = environment.iter().map(|(name, value)| (name, text(value)));
    let mut check = switchboard();
    check
        .envs(variables)
        .arg("check")
        .arg("-c")
        .arg(in_repository("config/production.yaml"));
    let said = output_of(&mut check);
    assert!(said.contains("2 backends"), "{said}");

    // Docker waits until calls have ended: `drain_timeout`, and 15 s.
    assert_eq!(service["stop_grace_period"], "50s");
    assert!(read(&in_repository("config/production.yaml")).contains("  drain_timeout: 30s\n"));
}
