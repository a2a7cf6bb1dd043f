//! What Prometheus and Grafana get to see: every metric of the reference from a gateway under load, every
//! query of every dashboard and rule in a real Prometheus that scrapes it, and the rules' own tests.

mod load;
mod server;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use switchboard_tests::tools;
use switchboard_tests::waiting::until;
use tokio::process::Command;

use load::{INVENTED, Loaded};
use server::Prometheus;

/// The samples of a scrape: each with the labels that it has, by the family in the reference.
async fn scrape(url: &str, families: &BTreeMap<String, BTreeSet<String>>) -> Vec<Sample> {
    let text = reqwest::get(url).await.expect("metrics").text().await;
    let text = text.expect("metrics");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| Sample::read(line, families)).collect()
}

#[derive(Debug)]
struct Sample {
    family: String,
    labels: BTreeMap<String, String>,
}

impl Sample {
    fn read(line: &str, families: &BTreeMap<String, BTreeSet<String>>) -> Self {
        let (series, _value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let suffixes = ["", "_bucket", "_sum", "_count"];
        let mut whole = suffixes.iter().filter_map(|end| name.strip_suffix(end));
        let family = whole.find(|name| families.contains_key(*name));
        // None of ours has a quote or a comma in a value.
        let labels = labels.trim_end_matches('}').split("\",");
        let labels = labels.filter_map(|label| {
            let (name, value) = label.split_once("=\"")?;
            Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
        });
        Self {
            family: family
                .unwrap_or_else(|| panic!("not in the reference: {line}"))
                .to_owned(),
            labels: labels.filter(|(name, _)| name != "le").collect(),
        }
    }
}

#[tokio::test]
async fn a_loaded_gateway_shows_every_metric_of_the_reference_and_no_name_that_a_client_invents() {
    let families = written::families();
    let loaded = Loaded::start().await;
    let mut missing = BTreeSet::new();
    let samples = until("every family is there", async || {
        loaded.round().await;
        let mut samples = Vec::new();
        for url in loaded.metrics_urls() {
            samples.extend(scrape(url, &families).await);
        }
        let there: BTreeSet<&String> = samples.iter().map(|it| &it.family).collect();
        let absent = families.keys().filter(|name| !there.contains(name));
        missing = absent.cloned().collect();
        println!("not there yet: {missing:?}");
        missing.is_empty().then_some(samples)
    })
    .await;
    for sample in samples {
        let labels: BTreeSet<String> = sample.labels.keys().cloned().collect();
        assert_eq!(labels, families[&sample.family], "{sample:?}");
        for value in sample.labels.values() {
            let invented = value.to_ascii_lowercase().contains(INVENTED);
            assert!(!invented, "{sample:?}");
        }
    }
    loaded.stop().await;
}

#[tokio::test]
async fn every_query_of_every_dashboard_and_rule_has_data() {
    let loaded = Loaded::start().await;
    let prometheus = Prometheus::start(&loaded.targets()).await;
    let mut queries: BTreeMap<String, String> = BTreeMap::new();
    for (panel, query) in written::panels() {
        queries.insert(written::as_run(&query), panel);
    }
    let rules = prometheus.rules().await;
    let alerts: Vec<&Value> = rules.iter().filter(|it| it["type"] == "alerting").collect();
    assert_eq!(alerts.len(), written::alerts().len(), "{alerts:?}");
    for rule in &rules {
        let (name, query) = (written::text(&rule["name"]), written::text(&rule["query"]));
        match rule["type"] == "alerting" {
            // Nothing has to be wrong: what it looks at has to be there.
            true => {
                prometheus.query(&query).await;
                for selector in written::selectors(&query) {
                    queries.insert(selector, name.clone());
                }
            }
            false => {
                queries.insert(query, name.clone());
                queries.insert(name.clone(), name);
            }
        }
    }
    assert!(queries.len() > 120, "{}", queries.len());

    // None is let off: what is without data after this long asks for something that is never there.
    // Those of which nothing was seen yet are asked again, while calls go on.
    until("every query has data", async || {
        loaded.round().await;
        let mut empty = BTreeMap::new();
        for (query, of) in std::mem::take(&mut queries) {
            if prometheus.query(&query).await.is_empty() {
                empty.insert(query, of);
            }
        }
        println!("{} without data: {empty:#?}", empty.len());
        queries = empty;
        queries.is_empty().then_some(())
    })
    .await;
    for alert in ["SwitchboardBreakerOpen", "SwitchboardBudgetExhausted"] {
        until(alert, async || {
            loaded.round().await;
            let query = format!("ALERTS{{alertname=\"{alert}\"}}");
            (!prometheus.query(&query).await.is_empty()).then_some(())
        })
        .await;
    }
    for variable in ["instance", "backend"] {
        let values = prometheus.label_values(variable).await;
        assert!(!values.is_empty(), "{variable}");
    }
    prometheus.stop().await;
    loaded.stop().await;
}

#[test]
fn dashboards_are_what_their_source_says_and_name_metrics_that_there_are() {
    let check = std::process::Command::new(tools::repository().join("scripts/dashboards"))
        .arg("--check")
        .output()
        .expect("python3 is installed");
    assert!(check.status.success(), "{check:?}");
    let families = written::families();
    let recorded = written::recorded();
    let panels = written::panels();
    assert!(panels.len() > 80, "{}", panels.len());
    for (panel, query) in panels {
        for name in written::names(&query) {
            let suffixes = ["", "_bucket", "_sum", "_count"];
            let mut whole = suffixes.iter().filter_map(|end| name.strip_suffix(end));
            let is_known = whole.any(|it| families.contains_key(it)) || recorded.contains(&name);
            assert!(is_known, "{panel}: {name}");
        }
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let alerts = written::alerts();
    assert!(alerts.len() >= 25, "{alerts:?}");
    let runbooks = tools::repository().join("docs/runbooks.md");
    let runbooks = std::fs::read_to_string(runbooks).expect("the runbooks");
    let sections: BTreeSet<&str> = runbooks
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .filter(|section| section.starts_with("Switchboard"))
        .collect();
    for (alert, url) in &alerts {
        let own = format!("docs/runbooks.md#{}", alert.to_ascii_lowercase());
        assert_eq!(*url, own);
        assert!(sections.contains(&**alert), "{alert} has no section");
    }
    let named: BTreeSet<&str> = alerts.iter().map(|(alert, _)| &**alert).collect();
    assert_eq!(sections, named, "a section of an alert that is not there");
}

#[tokio::test]
async fn the_rules_pass_their_own_tests() {
    let folder = tools::repository().join("deploy/prometheus");
    let promtool = tools::prometheus("promtool");
    let files = |folder: &str, arguments: &[&str]| {
        let mut command = Command::new(&promtool);
        command.args(arguments);
        let entries = std::fs::read_dir(tools::repository().join("deploy/prometheus").join(folder));
        for entry in entries
            .expect("a folder")
            .map(|entry| entry.expect("a file"))
        {
            command.arg(entry.path());
        }
        command
    };
    let mut check_config = Command::new(&promtool);
    check_config
        .args(["check", "config"])
        .arg(folder.join("prometheus.yml"));
    let commands = [
        check_config,
        files("rules", &["check", "rules"]),
        files("tests", &["test", "rules"]),
    ];
    for mut command in commands {
        let done = command.output().await.expect("promtool starts");
        assert!(done.status.success(), "{command:?}: {done:?}");
    }
}
