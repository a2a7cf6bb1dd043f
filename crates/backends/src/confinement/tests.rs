//! What is planned for a server, on machines that can more and less.

use super::*;

fn config(text: &str) -> BackendConfig {
    serde_json::from_str(text).expect("valid")
}

fn able(version: CgroupVersion) -> Machine {
    let controller = |kind: &str| {
        let folder = match version {
            CgroupVersion::V1 => format!("/sys/fs/cgroup/{kind}"),
            CgroupVersion::V2 => "/sys/fs/cgroup".to_owned(),
        };
        Some(Controller {
            parent: folder.into(),
            version,
        })
    };
    Machine {
        memory: controller("memory"),
        cpu: controller("cpu"),
        processes: controller("pids"),
        landlock: Some(6),
        seccomp: true,
    }
}

fn plan(text: &str, machine: &Machine) -> Plan {
    Plan::of(&config(text), machine).expect("a local server")
}

fn held<'p>(plan: &'p Plan, key: &str) -> Result<&'p str, &'p str> {
    let measure = plan.measures.iter().find(|measure| measure.key == key);
    let held = &measure.unwrap_or_else(|| panic!("no {key}")).held;
    held.as_deref().map_err(String::as_str)
}

#[test]
fn version_1_has_a_group_for_each_kind_and_version_2_one_for_all() {
    let text = r#"{"command": "x", "limits": {"cpu": 1.5, "memory": "64MiB", "processes": 9}}"#;
    let files = |version| {
        let plan = plan(text, &able(version));
        assert!(plan.confinement.sampled.is_nothing());
        assert_eq!(plan.not_held().count(), 0);
        let groups = plan.confinement.groups.into_iter();
        groups
            .map(|group| (group.files, group.if_there, group.oom))
            .collect::<Vec<_>>()
    };
    let pairs = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(file, value)| ((*file).to_owned(), (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let memory = ("memory.limit_in_bytes", "67108864");
    assert_eq!(
        files(CgroupVersion::V1),
        [
            (
                pairs(&[memory]),
                pairs(&[("memory.memsw.limit_in_bytes", "67108864")]),
                Some("memory.oom_control".to_owned()),
            ),
            (
                pairs(&[
                    ("cpu.cfs_period_us", "100000"),
                    ("cpu.cfs_quota_us", "150000")
                ]),
                vec![],
                None,
            ),
            (pairs(&[("pids.max", "9")]), vec![], None),
        ]
    );
    assert_eq!(
        files(CgroupVersion::V2),
        [(
            pairs(&[
                ("memory.max", "67108864"),
                ("cpu.max", "150000 100000"),
                ("pids.max", "9"),
            ]),
            pairs(&[("memory.swap.max", "0"), ("memory.oom.group", "1")]),
            Some("memory.events".to_owned()),
        )]
    );
}

#[test]
fn without_groups_memory_and_processes_are_looked_at_and_cpu_is_not_held() {
    let text = r#"{"command": "x", "limits": {"cpu": 2, "memory": "64MiB", "processes": 9}}"#;
    let plan = plan(text, &Machine::default());
    assert_eq!(plan.confinement.groups, []);
    assert_eq!(plan.confinement.sampled.memory, Some(64 << 20));
    assert_eq!(plan.confinement.sampled.processes, Some(9));
    assert_eq!(held(&plan, "limits.memory"), Ok("looked at each second"));
    assert!(held(&plan, "limits.cpu").is_err());
    assert_eq!(
        plan.told_over(Limit::Memory),
        "was ended because it used more memory than its limit of 64 MiB"
    );
    assert_eq!(
        plan.told_over(Limit::Processes),
        "was ended because it started more processes than its limit of 9"
    );
}

#[test]
fn without_a_section_the_defaults_hold_and_nothing_is_hidden() {
    let plan = plan(r#"{"command": "x"}"#, &Machine::default());
    assert_eq!(plan.confinement.sandbox, None);
    assert_eq!(plan.confinement.open_files, Some(1024));
    assert_eq!(plan.not_held().count(), 0);
    assert!(Plan::of(&config(r#"{"url": "http://a/"}"#), &Machine::default()).is_none());
}

#[test]
fn what_a_kernel_cannot_is_said_and_refused_where_it_is_required() {
    let text = |network: &str, require: bool| {
        format!(r#"{{"command": "x", "sandbox": {{"network": {network}, "require": {require}}}}}"#)
    };
    let machine = |landlock, seccomp| Machine {
        landlock,
        seccomp,
        ..Machine::default()
    };
    let ports = r#"{"tcp_ports": [443]}"#;
    let none = r#""none""#;
    // What is there, and which of the keys are not held by it.
    let cases: [(_, _, _, &[&str]); 7] = [
        (Some(6), true, none, &[]),
        (Some(4), true, ports, &[]),
        (Some(3), true, none, &[]),
        (Some(3), true, ports, &["sandbox.network"]),
        (Some(2), true, none, &["sandbox.files"]),
        (
            Some(6),
            false,
            none,
            &["sandbox.network", "sandbox.system_calls"],
        ),
        (None, true, none, &["sandbox.files", "sandbox.tmp"]),
    ];
    for (landlock, seccomp, network, missing) in cases {
        let machine = machine(landlock, seccomp);
        let lenient = plan(&text(network, false), &machine);
        let keys: Vec<&str> = lenient.not_held().map(|(measure, _)| measure.key).collect();
        assert_eq!(keys, missing, "{landlock:?} {seccomp} {network}");
        assert_eq!(lenient.refusal(), None);
        let strict = plan(&text(network, true), &machine);
        assert_eq!(strict.refusal().is_some(), !missing.is_empty());
    }
}

#[test]
fn names_are_looked_up_over_tcp_where_nothing_else_passes() {
    let variables = |ports: &str| {
        let text = format!(r#"{{"command": "x", "sandbox": {{"network": {ports}}}}}"#);
        plan(&text, &Machine::default()).variables()
    };
    let over_tcp = vec![("RES_OPTIONS", "use-vc")];
    assert_eq!(variables(r#"{"tcp_ports": [443, 53]}"#), over_tcp);
    assert_eq!(variables(r#"{"tcp_ports": [443]}"#), []);
    assert_eq!(variables(r#""all""#), []);
}
