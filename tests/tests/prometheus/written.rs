//! What stands in the repository: the reference of the metrics, the dashboards, and the rules.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use switchboard_tests::tools;

fn read(file: &str) -> String {
    let path = tools::repository().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn text(value: &Value) -> String {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// The labels of each metric, by docs/metrics.md.
pub(crate) fn families() -> BTreeMap<String, BTreeSet<String>> {
    let reference = read("docs/metrics.md");
    let rows = reference.lines().filter_map(|line| {
        let mut cells = line.split(" | ");
        let name = cells.next()?.strip_prefix("| `")?.strip_suffix('`')?;
        let kind = cells.next()?;
        let labels = cells.next()?.split(", ");
        let labels = labels.map(|label| label.trim_matches(|it| it == '`' || it == ' ').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        let is_metric = ["counter", "gauge", "histogram"].contains(&kind);
        is_metric.then(|| (name.to_owned(), labels))
    });
    let families: BTreeMap<String, BTreeSet<String>> = rows.collect();
    assert!(families.len() > 60, "{families:?}");
    families
}

/// Every query of every dashboard, with what it is of.
pub(crate) fn panels() -> Vec<(String, String)> {
    let folder = tools::repository().join("deploy/grafana");
    let mut queries = Vec::new();
    let mut boards = 0;
    for entry in std::fs::read_dir(folder).expect("the dashboards") {
        let path = entry.expect("a file").path();
        let board = std::fs::read_to_string(&path).expect("a dashboard");
        let board: Value = serde_json::from_str(&board).expect("a dashboard is JSON");
        boards += 1;
        let panels = board["panels"].as_array().expect("panels");
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
            let targets = panel["targets"].as_array().expect("queries");
            assert!(!targets.is_empty(), "{panel}");
            for target in targets {
                let of = format!("{}: {}", text(&board["title"]), text(&panel["title"]));
                queries.push((of, text(&target["expr"])));
            }
        }
    }
    assert_eq!(boards, 4);
    queries
}

/// The query of a panel as Grafana would send it, for the short time that there are data of.
pub(crate) fn as_run(query: &str) -> String {
    query
        .replace("$__rate_interval", "15s")
        .replace("$instance", ".*")
        .replace("$backend", ".*")
}

/// The metrics that a query names, recorded ones included.
pub(crate) fn names(query: &str) -> BTreeSet<String> {
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == ':';
    let words = query.split(|it| !is_part(it));
    let is_metric = |word: &&str| {
        let beginnings = ["switchboard_", "switchboard:", "mcp_", "process_", "up"];
        // Labels begin so too.
        let is_label = ["switchboard_backend", "mcp_method_name"].contains(word);
        beginnings.iter().any(|it| word.starts_with(it)) && !is_label
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

/// The series that a query looks at, each as a query of its own.
pub(crate) fn selectors(query: &str) -> BTreeSet<String> {
    let mut selectors = BTreeSet::new();
    for name in names(query) {
        for (at, _) in query.match_indices(&name) {
            let after = &query[at + name.len()..];
            let is_whole = !after.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '_');
            if is_whole {
                let end = after.find('}').filter(|_| after.starts_with('{'));
                let matchers = end.map_or("", |end| &after[..=end]);
                selectors.insert(format!("{name}{matchers}"));
            }
        }
    }
    selectors
}

/// The lines of a file of rules that have this key, and what it says.
fn lines_of(file: &str, key: &str) -> Vec<String> {
    let start = format!("{key}: ");
    let rules = read(file);
    let lines = rules
        .lines()
        .map(|line| line.trim_start_matches([' ', '-']));
    let found = lines.filter_map(|line| line.strip_prefix(&start));
    found.map(str::to_owned).collect()
}

/// What is recorded.
pub(crate) fn recorded() -> BTreeSet<String> {
    let names = lines_of("deploy/prometheus/rules/recording.yml", "record");
    names.into_iter().collect()
}

/// Each alert, and where its runbook is.
pub(crate) fn alerts() -> Vec<(String, String)> {
    let file = "deploy/prometheus/rules/alerts.yml";
    let (names, urls) = (lines_of(file, "alert"), lines_of(file, "runbook_url"));
    assert_eq!(names.len(), urls.len());
    names.into_iter().zip(urls).collect()
}
