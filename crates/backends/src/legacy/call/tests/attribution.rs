//! Whose a question is that does not say for which call it is.

use std::future::Future;
use std::pin::Pin;

use switchboard_protocol::call::ClientSession;
use switchboard_protocol::delivery::Redactor;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_question_that_may_be_for_another_call_is_for_none() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (first, _) = gateway.call(&mut server).await;
    let (second, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    assert_eq!(
        server.hears().await["error"]["code"],
        code::METHOD_NOT_FOUND
    );
    drop(first);
    assert_eq!(server.hears().await["method"], "notifications/cancelled");
    // The one that was given up may ask still.
    server.asks(2).await;
    assert_eq!(
        server.hears().await["error"]["code"],
        code::METHOD_NOT_FOUND
    );
    server.answers(&id).await;
    assert_eq!(result(second.whole().await), json!({"content": []}));
    gateway.ends().await;
}

/// A client that answers every question with an empty list of roots.
#[derive(Default)]
struct Client(Recorder);

impl ClientSession for Client {
    fn id(&self) -> &str {
        "client"
    }

    fn request(
        &self,
        _method: &str,
        _params: Option<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, Bytes>> + Send>> {
        Box::pin(std::future::ready(Ok("{\"roots\":[]}".into())))
    }

    fn notify(&self, notification: Bytes) -> bool {
        self.0.offer(notification)
    }

    fn redactor(&self, _: &str) -> Option<Arc<dyn Redactor>> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_of_one_client_asks_a_call_of_its_or_the_client() {
    let gateway = Gateway::new();
    let client = Arc::new(Client::default());
    let session = Arc::clone(&client) as Arc<dyn ClientSession>;
    let relay = gateway.relay(&session);
    let mut server = gateway.server_of(Some(relay));
    server.asks("outside").await;
    let answer = server.hears().await;
    assert_eq!(answer["result"], json!({"roots": []}));
    let (first, _) = gateway.call(&mut server).await;
    let (second, _) = gateway.call(&mut server).await;
    server.asks("inside").await;
    let result = tokio::select! {
        ended = first.whole() => result(ended),
        ended = second.whole() => result(ended),
    };
    assert!(result["inputRequests"]["q1"].is_object(), "{result}");
    server
        .say(json!({"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": "e", "_meta": {"dev.switchboard/x": 1}}}))
        .await;
    let told = client.0.0.lock().clone();
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0]["params"],
        json!({"elicitationId": "e", "_meta": {}})
    );
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_outlives_the_call_that_it_may_not_be_of() {
    let gateway = Gateway::new();
    let client: Arc<dyn ClientSession> = Arc::new(Client::default());
    let relay = gateway.relay(&client);
    let mut server = gateway.server_of(Some(relay));
    let calls = [
        gateway.call(&mut server).await,
        gateway.call(&mut server).await,
    ];
    server.asks("of either").await;
    for (leg, id) in calls {
        server.answers(&id).await;
        assert_eq!(result(leg.whole().await), json!({"content": []}));
    }
    let answer = server.hears().await;
    assert_eq!(answer["id"], "of either");
    assert_eq!(answer["result"], json!({"roots": []}));

    let calls = [
        gateway.call(&mut server).await,
        gateway.call(&mut server).await,
    ];
    server.asks("of one given up").await;
    drop(calls);
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(server.hears().await);
    }
    let answer = told.iter().find(|message| message["id"].is_string());
    assert_eq!(answer.expect("an answer")["result"], json!({"roots": []}));
    gateway.ends().await;
}
