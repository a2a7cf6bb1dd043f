//! What clients are shown of many servers together, and where it leads.

mod freshness;
mod items;
mod names;
mod shelf;

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, LISTS};
use switchboard_tests::front::Front;

/// The most items on a page of the gateway's.
const PAGE: usize = 1000;
const MAX_NAME: usize = 46;
const MISSING: &str = "dev.switchboard/backends";

async fn front(config: Value) -> Front {
    let front = Front::start(config).await;
    front.gateway.wait_for_backends().await;
    front
}

/// All pages of a list, each as it was answered.
async fn pages(front: &Front, method: &str) -> Vec<Answer> {
    let mut pages = Vec::new();
    let mut params = json!({});
    loop {
        let page = front.client.request(method, params).await;
        assert_eq!(page.error_code(), None, "{}", page.raw);
        let next = page.result()["nextCursor"].clone();
        pages.push(page);
        if next.is_null() {
            return pages;
        }
        params = json!({ "cursor": next });
    }
}

/// The names or URIs of a list, in their order.
async fn listed(front: &Front, method: &str) -> Vec<String> {
    let (_, list, key) = LISTS.iter().find(|list| list.0 == method).expect("a list");
    let pages = pages(front, method).await;
    let items = pages.iter().flat_map(|page| {
        let items = page.result()[list].as_array();
        items.unwrap_or_else(|| panic!("{}", page.raw))
    });
    items
        .map(|item| item[key].as_str().expect("a text").to_owned())
        .collect()
}

async fn tools(front: &Front) -> Vec<String> {
    listed(front, "tools/list").await
}

/// The name under which its server was called.
async fn called(front: &Front, tool: &str) -> String {
    let answer = front.client.call(tool, json!({})).await;
    let name = answer.result()["structuredContent"].as_str();
    name.unwrap_or_else(|| panic!("{tool}: {}", answer.raw))
        .to_owned()
}

async fn assert_unknown(front: &Front, tool: &str) {
    let answer = front.client.call(tool, json!({})).await;
    assert_eq!(answer.error_code(), Some(-32602), "{tool}: {}", answer.raw);
}
