//! The official conformance suite, of both eras and across them.

use serde_json::{Value, json};
use switchboard_tests::conformance::{
    CREDENTIALS_SCENARIOS, Front, Revision, Verdict, client_leg, credentials_leg, server_leg,
};
use switchboard_tests::gateway::Gateway;
use switchboard_tests::process::Server;
use switchboard_tests::tools;
use tokio::process::Command;

/// Checks that cannot pass, and why.
struct Excuse {
    scenario: &'static str,
    checks: &'static [&'static str],
    because: &'static str,
}

/// What no gateway can do for modern clients before a legacy server: 35 of 37 scenarios are left.
const LEGACY_SERVER: [Excuse; 2] = [
    Excuse {
        scenario: "input-required-result-basic-elicitation",
        checks: &["sep-2322-elicitation-incomplete"],
        because: "the question has to be called `user_name`, and a legacy server gives none a name",
    },
    Excuse {
        scenario: "input-required-result-ignore-extra-params",
        checks: &["sep-2322-ignore-unexpected-params"],
        because: "the first request has the answer already, and a legacy server asks all the same",
    },
];

/// Beside that, where each session is a process of its own.
const LEGACY_PROCESS: Excuse = Excuse {
    scenario: "server-stateless",
    checks: &[
        "sep-2575-server-sends-prompts-list-changed-on-subscription",
        "sep-2575-server-sends-tools-list-changed-on-subscription",
    ],
    because: "the process that the call changes is not the one that lists come from",
};

async fn fixtures(era: &str) -> Server {
    let mut command = Command::new(tools::program("conformance-server"));
    command.args(["--http", "127.0.0.1:0", "--era", era]);
    Server::start(command).await
}

/// A gateway in front of this one backend, with the names as they are.
async fn gateway(mut backend: Value) -> Gateway {
    backend["prefix"] = json!("");
    let gateway = Gateway::start(json!({ "backends": { "fixtures": backend } })).await;
    gateway.wait_for_backends().await;
    gateway
}

fn over_http(fixtures: &Server) -> Value {
    json!({ "url": fixtures.url() })
}

fn over_stdio(era: &str) -> Value {
    json!({
        "command": tools::program("conformance-server"),
        "args": ["--stdio", "--era", era],
    })
}

/// Asserts that everything has passed but what is excused, and that this has not.
fn assert_passed<'e>(
    verdicts: &[Verdict],
    scenarios: usize,
    excuses: impl IntoIterator<Item = &'e Excuse>,
) {
    assert_eq!(verdicts.len(), scenarios);
    let excuses: Vec<&Excuse> = excuses.into_iter().collect();
    let is_excused = |scenario: &str, check: &str| {
        excuses
            .iter()
            .any(|excuse| excuse.scenario == scenario && excuse.checks.contains(&check))
    };
    let report: Vec<String> = verdicts
        .iter()
        .filter(|verdict| {
            let mut faults = verdict.faults.iter();
            !faults.all(|fault| is_excused(&verdict.scenario, &fault.check))
        })
        .map(Verdict::to_string)
        .collect();
    assert!(report.is_empty(), "{}", report.join("\n"));
    for excuse in excuses {
        let verdict = verdicts
            .iter()
            .find(|found| found.scenario == excuse.scenario);
        let faults = &verdict.expect("the scenario exists").faults;
        for check in excuse.checks {
            assert!(
                faults.iter().any(|fault| fault.check == *check),
                "{check} passes, though {}",
                excuse.because
            );
        }
    }
}

async fn assert_serves<'e>(
    url: &str,
    revision: Revision,
    excuses: impl IntoIterator<Item = &'e Excuse>,
) {
    let verdicts = server_leg(url, revision).await;
    assert_passed(&verdicts, revision.server_scenarios(), excuses);
}

async fn assert_calls(front: &Front, revision: Revision) {
    let verdicts = client_leg(front, revision).await;
    assert_passed(&verdicts, revision.client_scenarios().len(), []);
}

fn gateway_of(front: Revision) -> Front {
    Front::Gateway(tools::program("switchboard"), front)
}

/// The fixtures alone: what fails here is not the gateway's.
#[tokio::test]
async fn the_fixtures_pass_every_server_scenario_of_their_era() {
    let modern = fixtures("modern").await;
    assert_serves(modern.url(), Revision::Modern, []).await;
    let legacy = fixtures("legacy").await;
    assert_serves(legacy.url(), Revision::Legacy, []).await;
}

#[tokio::test]
async fn modern_clients_and_modern_servers() {
    let fixtures = fixtures("modern").await;
    let gateway = gateway(over_http(&fixtures)).await;
    assert_serves(gateway.url(), Revision::Modern, []).await;
    gateway.stop().await;
}

#[tokio::test]
async fn legacy_clients_and_legacy_servers() {
    let fixtures = fixtures("legacy").await;
    let gateway = gateway(over_http(&fixtures)).await;
    assert_serves(gateway.url(), Revision::Legacy, []).await;
    gateway.stop().await;
}

#[tokio::test]
async fn legacy_clients_and_legacy_servers_over_stdio() {
    let gateway = gateway(over_stdio("legacy")).await;
    assert_serves(gateway.url(), Revision::Legacy, []).await;
    gateway.stop().await;
}

#[tokio::test]
async fn modern_clients_and_legacy_servers() {
    let fixtures = fixtures("legacy").await;
    let gateway = gateway(over_http(&fixtures)).await;
    assert_serves(gateway.url(), Revision::Modern, &LEGACY_SERVER).await;
    gateway.stop().await;
}

#[tokio::test]
async fn modern_clients_and_legacy_servers_over_stdio() {
    let gateway = gateway(over_stdio("legacy")).await;
    let excuses = LEGACY_SERVER.iter().chain([&LEGACY_PROCESS]);
    assert_serves(gateway.url(), Revision::Modern, excuses).await;
    gateway.stop().await;
}

#[tokio::test]
async fn legacy_clients_and_modern_servers() {
    let fixtures = fixtures("modern").await;
    let gateway = gateway(over_http(&fixtures)).await;
    assert_serves(gateway.url(), Revision::Legacy, []).await;
    gateway.stop().await;
}

#[tokio::test]
async fn legacy_clients_and_modern_servers_over_stdio() {
    let gateway = gateway(over_stdio("modern")).await;
    assert_serves(gateway.url(), Revision::Legacy, []).await;
    gateway.stop().await;
}

/// The official client alone: what fails here is not the gateway's.
#[tokio::test]
async fn the_client_passes_every_client_scenario() {
    assert_calls(&Front::Client, Revision::Modern).await;
    assert_calls(&Front::Client, Revision::Legacy).await;
}

#[tokio::test]
async fn the_gateway_passes_every_client_scenario() {
    assert_calls(&gateway_of(Revision::Modern), Revision::Modern).await;
}

#[tokio::test]
async fn the_gateway_passes_every_client_scenario_of_legacy() {
    assert_calls(&gateway_of(Revision::Legacy), Revision::Legacy).await;
}

/// What the gateway sends to a legacy server for a modern client.
#[tokio::test]
async fn the_gateway_passes_every_client_scenario_across_eras() {
    assert_calls(&gateway_of(Revision::Modern), Revision::Legacy).await;
    assert_calls(&gateway_of(Revision::Legacy), Revision::Modern).await;
}

/// The gateway as a client with credentials of its own, a secret or a key, for callers of each era.
#[tokio::test]
async fn the_gateway_passes_the_scenarios_of_client_credentials() {
    for front in [Revision::Modern, Revision::Legacy] {
        for mock in [Revision::Modern, Revision::Legacy] {
            let verdicts = credentials_leg(&gateway_of(front), mock).await;
            assert_passed(&verdicts, CREDENTIALS_SCENARIOS.len(), []);
        }
    }
}
