//! Results of every real server are cut, while they arrive wherever they can be.

use switchboard_testkit::client::{Client, all_capabilities, call, declaring};

use super::*;
use crate::servers::{Server, Transport};

const CAP: usize = 16 * 1024;

/// Whether whose an answer is stands at its end alone, on a channel that calls share.
fn comes_whole(backend: Backend) -> bool {
    let is_typescript = matches!(
        backend.server,
        Server::TypeScript | Server::TypeScriptLegacy | Server::Everything
    );
    is_typescript && backend.transport == Transport::Stdio
}

#[tokio::test(flavor = "multi_thread")]
async fn large_results_of_every_server_are_cut() {
    let fleet = Fleet::start().await;
    let config = json!({
        "backends": fleet.config(),
        "result_caps": [{ "max_bytes": CAP }],
    });
    let gateway = Gateway::start(config).await;
    gateway.wait_for_backends().await;
    let client = Client::new(gateway.url());
    for backend in Backend::all() {
        for capabilities in [json!({}), all_capabilities()] {
            let echo = async |text: &str| {
                let (tool, argument) = match backend.is_everything() {
                    true => ("echo", "message"),
                    false => ("echo", "text"),
                };
                let name = format!("{}__{tool}", backend.name());
                let request = call(&name, &json!({ argument: text }));
                client.ask(&declaring(request, capabilities.clone())).await
            };
            let label = backend.name();
            let answer = echo(&"all of it ".repeat(40_000)).await;
            let result = answer.result();
            let told = &result["_meta"]["dev.switchboard/truncated"];
            assert!(result.to_string().len() <= CAP, "{label}");
            assert_eq!(told["maxBytes"], CAP, "{label}: {result}");
            let came_whole = told["totalBytes"].is_number();
            assert_eq!(came_whole, comes_whole(backend), "{label} {capabilities}");
            let small = echo("a little").await;
            assert!(small.raw.contains("a little"), "{label}: {}", small.raw);
        }
    }
    gateway.stop().await;
    fleet.stop().await;
}
