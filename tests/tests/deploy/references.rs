//! That what refers to something in manifests means something: selectors, ports, targets.

use serde_json::Value;

use crate::manifests::{named, of_kind, pods, ports, workloads};
use crate::{in_repository, items, read, text};

/// That all that refers to pods means some, and ports that they have.
pub(crate) fn check_references(documents: &[Value]) {
    check_services(documents);
    check_policies(documents);
    check_scaling(documents);
    check_monitors(documents);
}

/// Whether a selector's labels are all among these.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().expect("labels");
    !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value)
}

/// The pods that a selector means.
fn meant<'a>(documents: &'a [Value], selector: &Value) -> Vec<&'a Value> {
    let pods = pods(documents).into_iter().map(|(_, pod)| pod);
    pods.filter(|pod| selects(selector, &pod["metadata"]["labels"]))
        .collect()
}

/// Whether a pod has a port of this name or number.
fn has_port(pod: &Value, wanted: &Value) -> bool {
    let mut ports = items(&pod["spec"]["containers"]).flat_map(ports);
    ports.any(|(name, number)| match wanted.as_str() {
        Some(wanted) => wanted == name,
        None => wanted == number,
    })
}

fn check_services(documents: &[Value]) {
    for workload in workloads(documents) {
        let labels = &workload["spec"]["template"]["metadata"]["labels"];
        let selector = &workload["spec"]["selector"]["matchLabels"];
        assert!(selects(selector, labels), "{workload}");
    }
    for service in of_kind(documents, "Service") {
        let meant = meant(documents, &service["spec"]["selector"]);
        assert!(!meant.is_empty(), "{service}");
        for port in items(&service["spec"]["ports"]) {
            let mut pods = meant.iter();
            assert!(
                pods.all(|pod| has_port(pod, &port["targetPort"])),
                "{service}: {port}"
            );
        }
    }
}

fn check_policies(documents: &[Value]) {
    let policies = of_kind(documents, "NetworkPolicy");
    let mut held: Vec<&Value> = Vec::new();
    for policy in &policies {
        let own = meant(documents, &policy["spec"]["podSelector"]["matchLabels"]);
        assert!(!own.is_empty(), "{policy}");
        for rule in items(&policy["spec"]["ingress"]) {
            for port in items(&rule["ports"]) {
                let mut pods = own.iter();
                assert!(
                    pods.any(|pod| has_port(pod, &port["port"])),
                    "{policy}: {port}"
                );
            }
        }
        for rule in items(&policy["spec"]["egress"]) {
            for peer in items(&rule["to"]).filter(|peer| peer["podSelector"].is_object()) {
                let others = meant(documents, &peer["podSelector"]["matchLabels"]);
                for port in items(&rule["ports"]) {
                    let mut pods = others.iter();
                    assert!(
                        pods.any(|pod| has_port(pod, &port["port"])),
                        "{policy}: {peer}"
                    );
                }
            }
        }
        held.extend(own);
    }
    // Nobody is left out: a pod that no policy holds may do everything.
    for (name, pod) in pods(documents) {
        assert!(held.contains(&pod), "{name}");
    }
}

fn check_scaling(documents: &[Value]) {
    for budget in of_kind(documents, "PodDisruptionBudget") {
        let selector = &budget["spec"]["selector"]["matchLabels"];
        assert!(!meant(documents, selector).is_empty(), "{budget}");
        // With none a node could not be drained.
        let most = budget["spec"]["maxUnavailable"].as_u64();
        assert!(most.is_some_and(|many| many > 0), "{budget}");
    }
    for scaler in of_kind(documents, "HorizontalPodAutoscaler") {
        let target = &scaler["spec"]["scaleTargetRef"];
        let scaled = named(documents, text(&target["kind"]), text(&target["name"]));
        // Else each apply would undo what was scaled.
        assert!(scaled["spec"]["replicas"].is_null(), "{scaler}");
        for metric in items(&scaler["spec"]["metrics"]).filter(|metric| metric["type"] == "Pods") {
            let name = text(&metric["pods"]["metric"]["name"]);
            let known = read(&in_repository("docs/metrics.md"));
            assert!(known.contains(&format!("`{name}`")), "{name}");
        }
    }
}

fn check_monitors(documents: &[Value]) {
    for monitor in of_kind(documents, "ServiceMonitor") {
        let selector = &monitor["spec"]["selector"]["matchLabels"];
        let services = of_kind(documents, "Service").into_iter();
        let mut watched =
            services.filter(|service| selects(selector, &service["metadata"]["labels"]));
        let service = watched.next().expect("a service that is watched");
        assert!(watched.next().is_none(), "each pod is scraped once");
        let label = text(&monitor["spec"]["jobLabel"]);
        let job = text(&service["metadata"]["labels"][label]);
        assert_eq!(job, "switchboard", "the job that the rules know");
        for endpoint in items(&monitor["spec"]["endpoints"]) {
            let mut ports = items(&service["spec"]["ports"]);
            assert!(
                ports.any(|port| port["name"] == endpoint["port"]),
                "{endpoint}"
            );
        }
    }
}
