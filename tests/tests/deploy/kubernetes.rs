//! `deploy/kubernetes` as kubectl builds it, and the Helm chart as Helm does: both against the schemas of
//! Kubernetes, against what is good practice, and against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use switchboard_tests::tools;
use tempfile::TempDir;

use crate::manifests::{chart, documents, named, of_kind, overlay, pods};
use crate::practice::check_pods;
use crate::references::check_references;
use crate::{in_repository, items, output_of, read, switchboard, text};

/// What a pod's end takes after its calls have ended, in seconds (docs/operations.md, Shutdown).
const AFTER_DRAIN: u64 = 15;

/// That the gateway has the time it takes to end.
fn check_end(documents: &[Value]) {
    let spec = &named(documents, "Deployment", "switchboard")["spec"]["template"]["spec"];
    let before = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        .as_u64()
        .expect("seconds");
    let config = &named(documents, "ConfigMap", "switchboard")["data"]["production.yaml"];
    let drain = text(config)
        .lines()
        .find_map(|line| line.strip_prefix("  drain_timeout: "));
    let drain: u64 = drain
        .and_then(|text| text.strip_suffix('s'))
        .expect("seconds")
        .parse()
        .expect("a number");
    let whole = spec["terminationGracePeriodSeconds"]
        .as_u64()
        .expect("seconds");
    assert!(whole >= before + drain + AFTER_DRAIN, "{whole} s");
}

/// The Secrets that `deploy/make-secrets kubernetes` prints, by their names.
fn secrets() -> BTreeMap<String, Value> {
    let made = output_of(Command::new(in_repository("deploy/make-secrets")).arg("kubernetes"));
    let made = documents(&made).into_iter();
    made.map(|secret| {
        (
            text(&secret["metadata"]["name"]).to_owned(),
            secret["stringData"].clone(),
        )
    })
    .collect()
}

/// That the gateway finds its configuration and its secrets where they are mounted, and that they are
/// valid together. The volume is laid out in a folder as the kubelet does.
fn check_configuration(documents: &[Value], secrets: &BTreeMap<String, Value>) {
    let spec = &named(documents, "Deployment", "switchboard")["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    let volume = items(&spec["volumes"])
        .find(|volume| volume["name"] == "config")
        .expect("a volume");
    let place = TempDir::new().expect("a temporary folder");
    let write = |path: &str, held: &Value| {
        let file = place.path().join(path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("the folder is ours");
        std::fs::write(file, text(held)).expect("the folder is ours");
    };
    for source in items(&volume["projected"]["sources"]) {
        if let Some(name) = source["configMap"]["name"].as_str() {
            let data = named(documents, "ConfigMap", name)["data"]
                .as_object()
                .expect("files")
                .clone();
            data.iter().for_each(|(file, held)| write(file, held));
        }
        if let Some(name) = source["secret"]["name"].as_str() {
            for item in items(&source["secret"]["items"]) {
                write(text(&item["path"]), &secrets[name][text(&item["key"])]);
            }
        }
    }
    let mount = items(&container["volumeMounts"])
        .find(|mount| mount["name"] == "config")
        .expect("it");
    let mount = text(&mount["mountPath"]);
    let here = |path: &str| match path.strip_prefix(mount) {
        Some(below) => format!("{}{below}", place.path().display()),
        None => path.to_owned(),
    };
    let mut check = switchboard();
    check.arg("check");
    for argument in items(&container["args"]).skip(1) {
        check.arg(here(text(argument)));
    }
    for variable in items(&container["env"]) {
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("status.podIP") => "10.0.0.7".to_owned(),
            _ => here(text(&variable["value"])),
        };
        check.env(text(&variable["name"]), value);
    }
    let said = output_of(&mut check);
    assert!(said.contains("2 backends"), "{said}");
}

fn check(documents: &[Value]) {
    let secrets = secrets();
    check_pods(documents);
    check_references(documents);
    check_end(documents);
    check_configuration(documents, &secrets);
    for workload in pods(documents)
        .into_iter()
        .flat_map(|(_, pod)| items(&pod["spec"]["volumes"]))
    {
        if let Some(name) = workload["secret"]["secretName"].as_str() {
            assert!(secrets.contains_key(name), "make-secrets makes no {name}");
        }
    }
}

#[test]
fn the_example_overlay() {
    let documents = overlay("example");
    check(&documents);
    let namespace = &of_kind(&documents, "Namespace")[0]["metadata"]["labels"];
    assert_eq!(
        namespace["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
}

#[test]
fn the_overlay_with_replicas() {
    let documents = overlay("replicas");
    check(&documents);
    for kind in [
        "HorizontalPodAutoscaler",
        "ServiceMonitor",
        "PodDisruptionBudget",
    ] {
        assert_eq!(of_kind(&documents, kind).len(), 1, "{kind}");
    }
    let gateway = named(&documents, "Deployment", "switchboard");
    let spread = items(&gateway["spec"]["template"]["spec"]["topologySpreadConstraints"]);
    assert_eq!(spread.count(), 2);
}

/// What is compared of manifests: lists of what has a name without their order, and without the labels
/// that say that Helm made it.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(key, _)| {
                !matches!(
                    key.as_str(),
                    "app.kubernetes.io/managed-by" | "helm.sh/chart" | "namespace"
                )
            });
            members
                .map(|(key, value)| (key.clone(), plain(value)))
                .collect()
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(plain).collect();
            items.sort_by_key(|item| item["name"].as_str().map(str::to_owned));
            Value::Array(items)
        }
        other => other.clone(),
    }
}

fn assert_same(overlay: &[Value], chart: &[Value]) {
    let by_name = |documents: &[Value]| -> BTreeMap<String, Value> {
        let all = documents
            .iter()
            .filter(|document| document["kind"] != "Namespace");
        all.map(|document| {
            let name = format!("{} {}", document["kind"], document["metadata"]["name"]);
            (name, plain(document))
        })
        .collect()
    };
    let (overlay, chart) = (by_name(overlay), by_name(chart));
    let names = |documents: &BTreeMap<String, Value>| -> BTreeSet<String> {
        documents.keys().cloned().collect()
    };
    assert_eq!(names(&overlay), names(&chart));
    for (name, document) in &overlay {
        assert_eq!(*document, chart[name], "{name}");
    }
}

#[test]
fn the_chart_makes_what_the_overlays_make() {
    let example = [
        "--set",
        "examples.enabled=true",
        "--set",
        "publicUrl=http://localhost:8080",
    ];
    assert_same(&overlay("example"), &chart(&example));
    assert_same(
        &overlay("replicas"),
        &chart(&["-f", "values-replicas.yaml"]),
    );
}

#[test]
fn the_chart_by_other_values() {
    output_of(
        Command::new(tools::deploy("helm"))
            .arg("lint")
            .arg(in_repository("deploy/helm/switchboard")),
    );
    let documents = chart(&[]);
    check(&documents);
    assert!(of_kind(&documents, "ServiceMonitor").is_empty());

    let without = chart(&[
        "--set",
        "redis.enabled=false",
        "--set",
        "networkPolicy.enabled=false",
    ]);
    assert!(of_kind(&without, "StatefulSet").is_empty());
    assert!(of_kind(&without, "NetworkPolicy").is_empty());

    let longer = chart(&[
        "--set",
        "drainTimeoutSeconds=90",
        "--set",
        "secretFiles.GITHUB_TOKEN=github-token",
    ]);
    let spec = &named(&longer, "Deployment", "switchboard")["spec"]["template"]["spec"];
    assert_eq!(spec["terminationGracePeriodSeconds"], 120);
    let mut variables = items(&spec["containers"][0]["env"]);
    assert!(variables.any(|variable| variable["name"] == "GITHUB_TOKEN_FILE"));

    let mut alone = Command::new(tools::deploy("helm"));
    alone
        .args(["template", "a", "--set", "replicas=2"])
        .arg(in_repository("deploy/helm/switchboard"));
    let refused = crate::ended(&mut alone);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("needs `cluster.enabled`"), "{said}");
}

/// Neither kustomize nor Helm takes a file from outside of its folder, so there are copies.
#[test]
fn copies_of_the_configuration_are_equal() {
    let copies = [
        (
            "config/production.yaml",
            "deploy/kubernetes/base/production.yaml",
        ),
        (
            "config/production.yaml",
            "deploy/helm/switchboard/files/production.yaml",
        ),
        (
            "deploy/kubernetes/components/replicas/replicas.yaml",
            "deploy/helm/switchboard/files/replicas.yaml",
        ),
    ];
    for (original, copy) in copies {
        let (original, copy) = (in_repository(original), in_repository(copy));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::copy(&original, &copy).expect("the copy can be written");
        }
        assert_same_file(&original, &copy);
    }
}

fn assert_same_file(original: &Path, copy: &Path) {
    assert!(
        read(original) == read(copy),
        "{} is not {}: run this test with UPDATE=1",
        copy.display(),
        original.display()
    );
}
