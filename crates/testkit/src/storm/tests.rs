use super::*;

#[tokio::test]
async fn after_the_storm_every_server_is_well() {
    let storm = Storm::gather(1).await;
    assert_eq!(storm.servers.len(), SERVERS);
    assert_eq!(storm.well().len() + storm.ill().len(), SERVERS);
    let config = storm.gateway_config();
    let backends = config["backends"].as_object().unwrap();
    assert_eq!(backends.len(), SERVERS);
    weather::storm(storm.ill(), 1, Duration::from_millis(300)).await;
    for server in &storm.servers {
        let answer = Client::new(&server.url())
            .call("read", json!({ "key": "k" }))
            .await;
        assert_eq!(answer.result()["structuredContent"]["key"], "k");
    }
}
