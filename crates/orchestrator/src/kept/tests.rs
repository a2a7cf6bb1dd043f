use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use switchboard_protocol::call::{Outcome, Principal};
use switchboard_protocol::delivery::{Cap, Over, Terms as DeliveryTerms};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::CallError;
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::{Admission, Audience, Permit, Policy, TargetKind};
use switchboard_protocol::token::Sealer;
use switchboard_protocol::version::Version;
use switchboard_telemetry::{CallSpan, Metrics};

use super::*;
use crate::config::chains::ChainsConfig;
use crate::config::kept_results::{PrincipalQuotaConfig, TotalQuotaConfig};
use crate::config::profiles::ProfilesConfig;
use crate::{DesiredState, Orchestrator, Parts, TracedCall};

mod once;
mod quota;
mod reading;
mod searching;

/// Shows everything but what is withdrawn, and has this cap.
#[derive(Debug, Default)]
struct Rules {
    withdrawn: bool,
    cap: Option<Cap>,
}

impl Policy for Rules {
    fn audience(&self, _: &Principal, _: Option<&str>) -> Option<Audience> {
        None
    }

    fn shows(&self, _: &Principal, _: Option<&str>, _: &Target<'_>) -> bool {
        !self.withdrawn
    }

    fn shows_backend(&self, _: &Principal, _: Option<&str>, _: &str) -> bool {
        true
    }

    fn admit(&self, _: &Call, _: &Target<'_>, _: bool) -> Admission {
        Admission::Decided(Ok(Permit::FREE))
    }

    fn terms(&self, _: &Call, _: &Target<'_>) -> Option<DeliveryTerms> {
        self.cap.map(|cap| DeliveryTerms {
            cap: Some(cap),
            ..DeliveryTerms::default()
        })
    }
}

/// An orchestrator with one backend, `b`, that never answers.
struct Scene {
    orchestrator: Orchestrator,
    folder: tempfile::TempDir,
    config: KeptResultsConfig,
    backends: std::collections::BTreeMap<String, switchboard_backends::config::BackendConfig>,
    _silent: tokio::net::TcpListener,
}

const TARGET: Target<'static> = Target {
    kind: TargetKind::Resource,
    backend: "b",
    name: "db://rows",
};

impl Scene {
    async fn new(change: impl FnOnce(&mut KeptResultsConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = KeptResultsConfig {
            dir: Some(folder.path().to_owned()),
            ..KeptResultsConfig::default()
        };
        change(&mut config);
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}/mcp", silent.local_addr().expect("an address"));
        let transport = switchboard_backends::config::TransportConfig::Http {
            url: url.parse().expect("a URL"),
            headers: Vec::new(),
            kind: switchboard_backends::config::HttpKind::Auto,
            address: None,
        };
        let backend = switchboard_backends::config::BackendConfig::new(transport);
        let backends = std::collections::BTreeMap::from([("b".to_owned(), backend)]);
        let sealer = Sealer::with_random_key().expect("random bytes");
        let metrics = Arc::new(Metrics::new().expect("a registry"));
        let profiles = serde_json::from_value(json!({ "p": {}, "q": {} })).expect("profiles");
        let orchestrator = Orchestrator::start(Parts {
            backends: backends.clone(),
            kept_results: Some(config.clone()),
            policy: Arc::new(Rules::default()),
            profiles,
            ..Parts::new(sealer, metrics)
        });
        Self {
            orchestrator,
            folder,
            config,
            backends,
            _silent: silent,
        }
    }

    fn kept(&self) -> &Kept {
        &self.orchestrator.inner().kept
    }

    /// Puts another policy in force, and what is kept.
    async fn reload(&self, rules: Rules, kept_results: Option<KeptResultsConfig>) {
        let profiles: ProfilesConfig =
            serde_json::from_value(json!({ "p": {}, "q": {} })).expect("profiles");
        let wanted = DesiredState {
            backends: self.backends.clone(),
            names: NamesConfig::default(),
            chains: ChainsConfig::default(),
            private: false,
            policy: Arc::new(rules),
            profiles,
            kept_results,
            drain_timeout: Duration::from_secs(1),
        };
        self.orchestrator.reload(wanted).await.expect("it runs");
    }

    async fn keep(&self, text: &str) -> KeptResult {
        let result = json!({ "content": [{ "type": "text", "text": text }] });
        self.keep_as("alice", None, &result).await.expect("room")
    }

    async fn keep_as(
        &self,
        who: &str,
        profile: Option<&str>,
        result: &Value,
    ) -> Result<KeptResult, NoRoom> {
        let call = call(
            who,
            profile,
            "resources/read",
            &json!({ "uri": "db://rows" }),
        );
        let mut keeping = self.kept().begin(&call, &TARGET)?;
        let json = Bytes::from(result.to_string());
        for piece in json.chunks(1000) {
            keeping.push(piece).await?;
        }
        keeping.finish(true).await
    }

    /// Keeps a whole result, once.
    async fn keep_whole(
        &self,
        who: &str,
        profile: Option<&str>,
        result: &Value,
    ) -> Result<KeptResult, NoRoom> {
        let params = json!({ "uri": "db://rows" });
        let call = call(who, profile, "resources/read", &params);
        let result = result.to_string();
        self.kept()
            .keep_result(&call, &TARGET, result.as_bytes())
            .await
    }

    /// Keeps an image of alice's, given in base64.
    async fn keep_image(&self, base64: &str) -> Result<KeptResult, NoRoom> {
        let params = json!({ "uri": "db://rows" });
        let call = call("alice", None, "resources/read", &params);
        let kept = self.kept();
        kept.keep_content(&call, &TARGET, "image/png", base64.as_bytes())
            .await
    }

    async fn ask(
        &self,
        who: &str,
        profile: Option<&str>,
        method: &str,
        params: &Value,
    ) -> Result<Value, Value> {
        let call = call(who, profile, method, params);
        let call = Box::new(call);
        let span = CallSpan::none();
        match self.orchestrator.call(TracedCall { call, span }).await {
            Outcome::Complete(completed) => {
                let text = completed.result.segments().concat();
                Ok(serde_json::from_slice(&text).expect("JSON"))
            }
            Outcome::Failed(CallError::Protocol(error)) => {
                Err(serde_json::from_slice(&error.to_json()).expect("JSON"))
            }
            other => panic!("{other:?}"),
        }
    }

    /// As alice, without a profile.
    async fn read(&self, uri: &str) -> Result<Value, Value> {
        self.ask("alice", None, "resources/read", &json!({ "uri": uri }))
            .await
    }

    async fn tool(&self, arguments: Value) -> Value {
        let params = json!({ "name": "switchboard__read_result", "arguments": arguments });
        self.ask("alice", None, "tools/call", &params)
            .await
            .expect("a result")
    }

    async fn end(self) {
        self.orchestrator.shut_down().await;
    }
}

fn call(who: &str, profile: Option<&str>, method: &str, params: &Value) -> Call {
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let method = match method {
        "tools/call" => Method::ToolsCall,
        "resources/read" => Method::ResourcesRead,
        "tools/list" => Method::ToolsList,
        "resources/list" => Method::ResourcesList,
        _ => Method::ResourceTemplatesList,
    };
    let request = Envelope::parse(Bytes::from(message.to_string())).expect("valid");
    let mut call = Call::new(
        request,
        method,
        Arc::new(Principal::new(who)),
        Version::LATEST,
    );
    call.profile = profile.map(Arc::from);
    call
}

fn meta(result: &Value) -> &Value {
    &result["_meta"]["dev.switchboard/result"]
}

fn text(result: &Value) -> &str {
    result["contents"][0]["text"].as_str().expect("a text")
}
