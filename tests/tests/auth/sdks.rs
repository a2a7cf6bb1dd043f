//! Clients as they are published, which know nothing but the address of the endpoint.

use switchboard_tests::{clients, tools};

use crate::Guarded;

#[tokio::test]
async fn the_typescript_client_finds_its_way_to_a_token() {
    let guarded = Guarded::start().await;
    clients::finds_its_way(&tools::node(), "typescript_oauth.mjs", &guarded.resource()).await;
    guarded.front.gateway.stop().await;
}

#[tokio::test]
async fn the_python_client_finds_its_way_to_a_token() {
    let guarded = Guarded::start().await;
    clients::finds_its_way(&tools::python(), "python_oauth.py", &guarded.resource()).await;
    guarded.front.gateway.stop().await;
}
