//! What is good practice for pods: the profile `restricted` of Kubernetes, and what makes them
//! dependable.

use serde_json::{Value, json};

use crate::manifests::{pods, ports};
use crate::{is_pinned, items, text};

/// That every pod is held as the restricted profile of Kubernetes asks, and can be relied on.
pub(crate) fn check_pods(documents: &[Value]) {
    for (name, pod) in pods(documents) {
        let spec = &pod["spec"];
        let security = &spec["securityContext"];
        assert_eq!(security["runAsNonRoot"], true, "{name}");
        assert!(
            security["runAsUser"].as_u64().is_some_and(|user| user > 0),
            "{name}"
        );
        assert_eq!(
            security["seccompProfile"]["type"], "RuntimeDefault",
            "{name}"
        );
        assert_eq!(spec["automountServiceAccountToken"], false, "{name}");
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(spec[field].is_null(), "{name}: {field}");
        }
        for volume in items(&spec["volumes"]) {
            assert!(volume["hostPath"].is_null(), "{name}: {volume}");
        }
        assert!(
            spec["initContainers"].is_null(),
            "{name}: not looked at here"
        );
        for container in items(&spec["containers"]) {
            check_container(name, container);
        }
    }
}

fn check_container(name: &str, container: &Value) {
    assert!(
        is_pinned(text(&container["image"])),
        "{name}: {}",
        container["image"]
    );
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
    assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
    assert_eq!(
        security["capabilities"],
        json!({ "drop": ["ALL"] }),
        "{name}"
    );
    let resources = &container["resources"];
    for (kind, resource) in [
        ("requests", "cpu"),
        ("requests", "memory"),
        ("limits", "memory"),
    ] {
        assert!(
            !resources[kind][resource].is_null(),
            "{name}: {kind}.{resource}"
        );
    }
    let ports = ports(container);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let asked = &container[probe];
        let is_answered = match asked["httpGet"]["port"].as_str() {
            Some(port) => ports.contains_key(port),
            None => asked["exec"]["command"].is_array(),
        };
        assert!(is_answered, "{name}: {probe} {asked}");
    }
}
