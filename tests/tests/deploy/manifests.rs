//! Manifests of Kubernetes: as kubectl and Helm make them, each valid by the schemas.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use switchboard_tests::tools;

use crate::{in_repository, items, output_of, text};

/// The oldest version that the manifests are for, and the newest that there is a schema for.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

/// The manifests in a YAML, each valid by the schemas.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for version in VERSIONS {
        let mut child = Command::new(tools::deploy("python"))
            .arg(in_repository("tests/real/documents.py"))
            .arg(version)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin.write_all(yaml.as_bytes()).expect("it reads all");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "Kubernetes {version}: {said}");
        let unknown: Vec<&str> = said
            .lines()
            .filter(|line| line.ends_with(": no schema"))
            .collect();
        let expected = unknown
            .iter()
            .all(|line| line.starts_with("ServiceMonitor/"));
        assert!(expected, "Kubernetes {version}: {said}");
        found = serde_json::from_slice(&output.stdout).expect("JSON");
    }
    found
}

pub(crate) fn overlay(name: &str) -> Vec<Value> {
    let folder = in_repository("deploy/kubernetes/overlays").join(name);
    documents(&output_of(
        Command::new(tools::deploy("kubectl"))
            .arg("kustomize")
            .arg(folder),
    ))
}

pub(crate) fn chart(options: &[&str]) -> Vec<Value> {
    let mut helm = Command::new(tools::deploy("helm"));
    helm.args(["template", "switchboard", "-n", "switchboard"])
        .arg(in_repository("deploy/helm/switchboard"))
        .args(options)
        .current_dir(in_repository("deploy/helm/switchboard"));
    documents(&output_of(&mut helm))
}

pub(crate) fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents
        .iter()
        .filter(|document| document["kind"] == kind)
        .collect()
}

pub(crate) fn named<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = of_kind(documents, kind);
    let mut named = found
        .into_iter()
        .filter(|document| document["metadata"]["name"] == name);
    named.next().unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// What makes pods.
pub(crate) fn workloads(documents: &[Value]) -> impl Iterator<Item = &Value> {
    let all = documents.iter();
    all.filter(|document| document["spec"]["template"]["spec"].is_object())
}

/// The name of each workload, and its pods.
pub(crate) fn pods(documents: &[Value]) -> Vec<(&str, &Value)> {
    workloads(documents)
        .map(|workload| {
            (
                text(&workload["metadata"]["name"]),
                &workload["spec"]["template"],
            )
        })
        .collect()
}

/// The ports of a container, by name.
pub(crate) fn ports(container: &Value) -> BTreeMap<&str, &Value> {
    items(&container["ports"])
        .map(|port| (text(&port["name"]), &port["containerPort"]))
        .collect()
}
