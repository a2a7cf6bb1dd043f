//! `switchboard tools` and `switchboard call`: a look and a try from a terminal.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use switchboard_backends::config::parked::ParkedCallsConfig;
use switchboard_backends::config::{BackendConfig, EraPin, HttpKind, TransportConfig};
use switchboard_backends::lists::{Item, Lists};
use switchboard_backends::status::{ChangedLists, Observer, State, Status};
use switchboard_backends::{
    Backend, BackendContext, KnownLists, RequestState, Rewrite, Shared, Supervisor, Take,
};
use switchboard_protocol::call::{Call, Principal, Sink};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::CallError;
use switchboard_protocol::method::{LogLevel, Method};
use switchboard_protocol::version::Version;
use switchboard_telemetry::{CallSpan, Metrics};
use tokio::sync::watch;
use url::{Position, Url};

use super::{failed, misused, print};

/// How long a tool may take.
const TIMEOUT: Duration = Duration::from_secs(300);
/// How long the server may take to answer at all.
const CONNECT: Duration = Duration::from_secs(15);

/// Which server to talk to.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The endpoint.
    #[arg(
        long,
        value_name = "URL",
        env = "SWITCHBOARD_URL",
        default_value = "http://127.0.0.1:8080/mcp"
    )]
    url: Url,
    /// An API key, sent as a bearer token.
    #[arg(
        long,
        value_name = "KEY",
        env = "SWITCHBOARD_API_KEY",
        hide_env_values = true
    )]
    api_key: Option<String>,
}

/// Prints the tools.
pub(crate) async fn tools(server: &Server) -> ExitCode {
    let (backend, lists) = match connect(server).await {
        Ok(connected) => connected,
        Err(message) => return failed(&message),
    };
    let mut out = String::new();
    for tool in &lists.tools {
        let tool: Value = serde_json::from_slice(&tool.raw).unwrap_or_default();
        let name = tool["name"].as_str().unwrap_or_default();
        let about = tool["description"]
            .as_str()
            .or(tool["title"].as_str())
            .unwrap_or_default();
        let _ = writeln!(out, "{}", visible(name));
        if let Some(line) = about.lines().find(|line| !line.trim().is_empty()) {
            let _ = writeln!(out, "    {}", visible(line.trim()));
        }
    }
    if lists.tools.is_empty() {
        out.push_str("The server offers no tools.\n");
    }
    let away = away(&backend).await;
    if !away.is_empty() {
        out.push_str("\nAway, so that what they offer may not be listed:\n");
    }
    for server in &away {
        let text = |key: &str| visible(server[key].as_str().unwrap_or_default());
        let _ = writeln!(
            out,
            "    {}: {} since {} ({})",
            text("name"),
            text("state"),
            text("since"),
            text("reason")
        );
    }
    print(&out);
    backend.shut_down().await;
    ExitCode::SUCCESS
}

/// Calls a tool and prints its answer; progress and logs go to standard error.
pub(crate) async fn call(server: &Server, name: &str, arguments: &str, as_json: bool) -> ExitCode {
    let arguments: Value = match serde_json::from_str(arguments) {
        Ok(arguments @ Value::Object(_)) => arguments,
        Ok(_) => {
            return misused("the arguments are a JSON object, such as '{\"text\": \"hello\"}'");
        }
        Err(error) => return misused(&format!("the arguments are not JSON: {error}")),
    };
    let (backend, lists) = match connect(server).await {
        Ok(connected) => connected,
        Err(message) => return failed(&message),
    };
    let answer = ask(&backend, &lists, name, &arguments).await;
    backend.shut_down().await;
    match answer {
        Ok(result) => show(&result, as_json),
        Err(message) => failed(&message),
    }
}

/// The result of a tool, or why there is none.
async fn ask(
    backend: &Backend,
    lists: &Lists,
    name: &str,
    arguments: &Value,
) -> Result<Value, String> {
    let tool = lists.tools.iter().find(|tool| tool.key == name);
    let hint = || {
        let likeness = |tool: &&Item| strsim::jaro(&tool.key, name);
        let near = lists
            .tools
            .iter()
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let hint = near.map(|near| format!("; did you mean {}?", visible(&near.key)));
        hint.unwrap_or_default()
    };
    // Whose a name is that nobody lists, the server knows: perhaps one's that is away.
    if tool.is_none() && away(backend).await.is_empty() {
        return Err(format!("there is no tool {name:?}{}", hint()));
    }
    let params = json!({ "name": name, "arguments": arguments });
    let call = request(Method::ToolsCall, params)?;
    let param_headers = match tool {
        Some(tool) => tool.param_headers.extract(call.arguments()),
        None => Ok(Vec::new()),
    };
    let rewrite = Rewrite {
        target: None,
        request_state: RequestState::Keep,
        param_headers: param_headers.map_err(|error| error.to_string())?,
        endpoint: None,
        take: Take::Whole,
    };
    match backend.call(&call, &rewrite, &CallSpan::none()).await {
        Ok(answer) => {
            let result = answer.response.slice(answer.result);
            serde_json::from_slice(result)
                .map_err(|error| format!("the result is not valid: {error}"))
        }
        Err(CallError::Backend { error, .. }) => {
            let error: Value = serde_json::from_slice(&error).unwrap_or_default();
            let message = error["message"].as_str();
            let message = message.unwrap_or("the server answered with an error");
            let hint = if tool.is_none() {
                hint()
            } else {
                String::new()
            };
            Err(format!("{}{hint}", visible(message)))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The servers that a gateway says are away; none of any other server.
async fn away(backend: &Backend) -> Vec<Value> {
    let Ok(call) = request(Method::ToolsList, json!({})) else {
        return Vec::new();
    };
    let rewrite = Rewrite {
        target: None,
        request_state: RequestState::Keep,
        param_headers: Vec::new(),
        endpoint: None,
        take: Take::Whole,
    };
    let Ok(answer) = backend.call(&call, &rewrite, &CallSpan::none()).await else {
        return Vec::new();
    };
    let result = answer.response.slice(answer.result);
    let result: Value = serde_json::from_slice(result).unwrap_or_default();
    let away = result["_meta"]["dev.switchboard/backends"].as_array();
    away.cloned().unwrap_or_default()
}

fn request(method: Method, mut params: Value) -> Result<Call, String> {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": Version::LATEST.as_str(),
        "io.modelcontextprotocol/clientInfo": { "name": "switchboard-cli", "version": env!("CARGO_PKG_VERSION") },
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/logLevel": "warning",
        "progressToken": 1,
    });
    let message = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": method.as_str(),
        "params": params,
    });
    Ok(Call {
        log_level: Some(LogLevel::Warning),
        sink: Some(Arc::new(Terminal)),
        ..Call::new(
            Envelope::parse(message.to_string().into()).map_err(|error| error.to_string())?,
            method,
            Arc::new(Principal::anonymous()),
            Version::LATEST,
        )
    })
}

/// Shows progress and logs while a call runs.
struct Terminal;

impl Sink for Terminal {
    fn offer(&self, notification: bytes::Bytes) -> bool {
        let notification: Value = serde_json::from_slice(&notification).unwrap_or_default();
        let params = &notification["params"];
        let line = match notification["method"].as_str() {
            Some("notifications/progress") => {
                let total = params["total"]
                    .as_f64()
                    .map(|total| format!("/{total}"))
                    .unwrap_or_default();
                format!(
                    "progress {}{total} {}",
                    params["progress"],
                    params["message"].as_str().unwrap_or_default()
                )
            }
            _ => format!(
                "{}: {}",
                params["level"].as_str().unwrap_or("log"),
                params["data"]
            ),
        };
        let _ = writeln!(std::io::stderr(), "{}", visible(line.trim_end()));
        true
    }
}

fn show(result: &Value, as_json: bool) -> ExitCode {
    let is_error = result["isError"] == true;
    if as_json {
        print(&format!("{result:#}\n"));
    } else if result["resultType"] == "input_required" {
        return failed(
            "the tool asks for input, which this command cannot give; use an MCP client",
        );
    } else {
        let blocks = result["content"].as_array().cloned().unwrap_or_default();
        let mut out = String::new();
        for block in &blocks {
            match block["type"].as_str() {
                Some("text") => {
                    let _ = writeln!(
                        out,
                        "{}",
                        visible(block["text"].as_str().unwrap_or_default())
                    );
                }
                Some("resource_link") => {
                    let _ = writeln!(
                        out,
                        "-> {}",
                        visible(block["uri"].as_str().unwrap_or_default())
                    );
                }
                other => {
                    let _ = writeln!(
                        out,
                        "({}; see it with --json)",
                        other.unwrap_or("content of no type")
                    );
                }
            }
        }
        if blocks.is_empty() {
            let _ = writeln!(out, "{:#}", result["structuredContent"]);
        }
        print(&out);
    }
    if is_error {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    }
}

/// What a server wrote, without what a terminal would obey.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|character| {
            let moves_text =
                matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if moves_text || character.is_control() && !matches!(character, '\n' | '\t') {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

/// Wakes this command when the connection changes.
struct Changed(watch::Sender<()>);

impl Observer for Changed {
    fn changed(&self, _backend: &str) {
        self.0.send_replace(());
    }

    fn lists_changed(&self, _backend: &str, _lists: ChangedLists) {}

    fn resource_updated(&self, _backend: &str, _uri: &str) {}
}

async fn connect(server: &Server) -> Result<(Backend, Arc<Lists>), String> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    if let Some(key) = &server.api_key {
        let mut value = HeaderValue::try_from(format!("Bearer {key}"))
            .map_err(|_| "the API key cannot be sent in a header")?;
        value.set_sensitive(true);
        headers.push((http::header::AUTHORIZATION, value));
    }
    let transport = TransportConfig::Http {
        address: None,
        url: server.url.clone(),
        headers,
        kind: HttpKind::StreamableHttp,
    };
    let config = BackendConfig {
        timeout: TIMEOUT,
        era: EraPin::Modern,
        ..BackendConfig::new(transport)
    };
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    let (sender, mut changed) = watch::channel(());
    let backend = Backend::start(
        "gateway".into(),
        config,
        BackendContext {
            metrics: metrics.backend("gateway"),
            observer: Arc::new(Changed(sender)),
            shared: Shared::new(ParkedCallsConfig::default()),
            runtime: None,
            supervisor: Supervisor::this_program(),
            known_lists: KnownLists::none(),
        },
        &[],
    );
    let known = changed.wait_for(|()| backend.status().state != State::Starting);
    let _ = tokio::time::timeout(CONNECT, known).await;
    match backend.lists() {
        Some(lists) => Ok((backend, lists)),
        None => {
            let status = backend.status();
            backend.shut_down().await;
            Err(unusable(server, &status))
        }
    }
}

/// Why nothing can be done with this server.
fn unusable(server: &Server, status: &Status) -> String {
    let url = &server.url;
    let refused = status.cause.as_deref();
    match refused.filter(|_| status.state == State::NeedsAuth) {
        Some("HTTP status 401") => {
            let other = match server.api_key {
                Some(_) => " another key: this one it does not know",
                None => "",
            };
            format!("{url} answers with 401: give --api-key or SWITCHBOARD_API_KEY{other}")
        }
        Some("HTTP status 403") => {
            let key_or = match server.api_key {
                Some(_) => "the key is not for this endpoint, or ",
                None => "",
            };
            let host = authority(url);
            format!(
                "{url} answers with 403: {key_or}the gateway's `server.allowed_hosts` lacks {host}"
            )
        }
        _ => format!(
            "{url} cannot be used: {}. Is `switchboard serve` running there?",
            status.told_operators()
        ),
    }
}

/// What stands in `Host` of a request to this URL, as an entry of `allowed_hosts` names it.
pub(super) fn authority(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}
