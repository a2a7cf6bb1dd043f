mod consul;
mod dns;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::config::MAX_ENDPOINTS;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A discovery that has just been started, and the tasks of it.
struct Started {
    discovery: Discovery,
    tasks: TaskTracker,
}

impl Started {
    fn new(config: Value) -> Self {
        let config: DiscoveryConfig = serde_json::from_value(config).unwrap();
        let tasks = TaskTracker::new();
        Self {
            discovery: Discovery::start("tested", &config, &tasks),
            tasks,
        }
    }

    /// Waits until these are the places.
    async fn finds(&self, expected: &[Place]) {
        let mut places = self.discovery.places();
        let found = timeout(PATIENCE, places.wait_for(|places| **places == *expected)).await;
        if found.is_err() {
            panic!("expected {expected:?}, found {:?}", self.discovery.places());
        }
    }

    /// Waits until this is the problem.
    async fn reports(&self, expected: Option<Problem>) {
        let mut problem = self.discovery.problem();
        let reported = timeout(PATIENCE, problem.wait_for(|problem| *problem == expected)).await;
        if reported.is_err() {
            panic!("expected {expected:?}, not {:?}", self.discovery.problem());
        }
    }
}

fn place(address: &str, host: &str) -> Place {
    Place {
        priority: 0,
        address: address.parse().unwrap(),
        host: host.into(),
        weight: 1,
    }
}

#[tokio::test]
async fn its_task_ends_when_it_is_dropped() {
    for config in [
        json!({ "dns": "mcp.test:80", "resolver": "127.0.0.1:9" }),
        json!({ "srv": "_mcp._tcp.test", "resolver": "127.0.0.1:9" }),
        json!({ "consul": { "url": "http://127.0.0.1:9", "service": "mcp" } }),
    ] {
        let Started { discovery, tasks } = Started::new(config);
        tasks.close();
        assert!(!tasks.is_empty());
        drop(discovery);
        timeout(PATIENCE, tasks.wait()).await.unwrap();
    }
}

#[test]
fn places_are_published_in_order_once_and_not_too_many() {
    let (publisher, (mut places, _problem)) = Publisher::new("tested", true);
    let mut many: Vec<_> = (1..=300)
        .rev()
        .map(|port| place(&format!("127.0.0.1:{port}"), "mcp.test"))
        .collect();
    many.push(many[0].clone());
    publisher.publish(many.clone());
    let published = places.borrow_and_update().clone();
    assert_eq!(published.len(), MAX_ENDPOINTS);
    assert_eq!(published[0].address.port(), 1);
    assert!(published.is_sorted());

    many.reverse();
    publisher.publish(many);
    assert!(!places.has_changed().unwrap(), "the same in another order");
}

#[test]
fn places_of_a_lower_priority_come_first() {
    let backup = Place {
        priority: 10,
        ..place("127.0.0.1:1", "a.test")
    };
    let first = place("127.0.0.2:1", "b.test");
    let (publisher, (places, _problem)) = Publisher::new("tested", true);
    publisher.publish(vec![backup.clone(), first.clone()]);
    assert_eq!(**places.borrow(), [first, backup]);
}
