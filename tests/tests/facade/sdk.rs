//! A client as it is published, which knows nothing but the address of the endpoint.

use switchboard_tests::{clients, tools};

use super::Place;

#[tokio::test]
async fn the_typescript_client_registers_and_logs_in_by_itself() {
    let place = Place::start().await;
    clients::finds_its_way(&tools::node(), "typescript_oauth.mjs", &place.resource()).await;
    place.front.gateway.stop().await;
}
