//! What the fake servers have in common: a few tools that do exactly what a test tells them, one
//! prompt, one resource, in either era.
//!
//! The fakes read and write JSON-RPC as text, without an SDK, so that a test sees the very bytes
//! that travelled. They take only what a right client sends: a modern request without its metadata
//! is refused.
//!
//! | tool | does |
//! |---|---|
//! | `echo` | answers at once |
//! | `delay` | answers after `ms` milliseconds |
//! | `report` | sends `n` progress and log notifications that carry `name`, `ms` apart, then answers |
//! | `locate` | answers at once; its argument `region` is mirrored in `Mcp-Param-Region` |
//! | `hang` | never answers |
//! | `exit` | ends the process with exit code `code`, or breaks the HTTP connection |
//! | `misbehave` | over standard input and output, with `--misbehaves`: does the evil `evil` |
//!
//! Each answer repeats the arguments byte for byte as `structuredContent.arguments`, says which
//! server it is from in `structuredContent.server`, and has fields that no specification knows:
//! [`UNKNOWN_IN_RESULT`] and [`UNKNOWN_IN_CONTENT`].

use std::borrow::Cow;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::value::RawValue;

#[cfg(test)]
mod tests;

/// A member of every tool result that no specification knows, written as no serializer would.
pub const UNKNOWN_IN_RESULT: &str =
    r#""dev.example/inResult":{"number":1.0,"text":"\u00e9","list":[null]}"#;
/// A member of every content item that no specification knows.
pub const UNKNOWN_IN_CONTENT: &str = r#""dev.example/inContent":{"big":123456789012345678901}"#;
/// The URI of the one resource.
pub const RESOURCE_URI: &str = "fake://notes/readme";

const MODERN_VERSION: &str = "2026-07-28";
const LEGACY_VERSION: &str = "2025-11-25";
/// The most notifications that `report` sends.
const MAX_NOTIFICATIONS: u64 = 10_000;

const TOOLS: &str = concat!(
    r#"{"name":"echo","description":"Answers with its arguments","inputSchema":{"type":"object"}},"#,
    r#"{"name":"delay","description":"Answers later","inputSchema":{"type":"object","properties":"#,
    r#"{"ms":{"type":"integer"}}}},"#,
    r#"{"name":"report","description":"Reports, then answers","inputSchema":{"type":"object","#,
    r#""properties":{"n":{"type":"integer"},"ms":{"type":"integer"},"name":{"type":"string"}}}},"#,
    r#"{"name":"locate","description":"Mirrors an argument in a header","inputSchema":"#,
    r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}},"#,
    r#"{"name":"hang","description":"Never answers","inputSchema":{"type":"object"}},"#,
    r#"{"name":"exit","description":"Ends the server","inputSchema":{"type":"object","#,
    r#""properties":{"code":{"type":"integer"}}}}"#,
);

/// The tool that does what no server must.
const MISBEHAVE: &str = r#"{"name":"misbehave","description":"Does what no server must","inputSchema":{"type":"object","properties":{"evil":{"type":"string"}}}}"#;

/// The era of the protocol that a fake speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Era {
    /// 2026-07-28 only.
    Modern,
    /// 2025-11-25 only.
    Legacy,
}

/// A message from a client, no more decoded than needed.
#[derive(Deserialize)]
pub(crate) struct Incoming<'a> {
    #[serde(borrow)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) params: Params<'a>,
}

/// The parameters of a request or notification.
#[derive(Default, Deserialize)]
pub(crate) struct Params<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) uri: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, rename = "requestId")]
    pub(crate) request_id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    pub(crate) meta: Meta<'a>,
}

/// The metadata of a request.
#[derive(Default, Deserialize)]
pub(crate) struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    pub(crate) progress_token: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/logLevel")]
    pub(crate) log_level: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    pub(crate) version: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Arguments<'a> {
    ms: u64,
    n: u64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    region: Option<Cow<'a, str>>,
    code: u8,
}

impl Incoming<'_> {
    /// The argument that `locate` mirrors in a header, where the request calls it with one.
    pub(crate) fn mirrored_region(&self) -> Option<String> {
        let calls_locate = self.params.name.as_deref() == Some("locate");
        calls_locate
            .then(|| self.arguments().region.map(Cow::into_owned))
            .flatten()
    }

    /// Whether somebody wants to hear how the request goes on.
    pub(crate) fn wants_news(&self) -> bool {
        self.params.meta.progress_token.is_some() || self.params.meta.log_level.is_some()
    }

    /// The arguments of a call, as they were written.
    pub(crate) fn raw_arguments(&self) -> &str {
        self.params.arguments.map_or("{}", RawValue::get)
    }

    fn arguments(&self) -> Arguments<'_> {
        serde_json::from_str(self.raw_arguments()).unwrap_or_default()
    }
}

/// What a fake does about a request, in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// Notifications, each after a pause.
    pub(crate) steps: Vec<(Duration, String)>,
    /// How it ends.
    pub(crate) end: End,
}

/// How a request ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With this message, after a pause.
    Answer(Duration, String),
    /// Never.
    Never,
    /// With the server's own end.
    Exit(u8),
}

impl Script {
    fn now(message: String) -> Self {
        Self {
            steps: Vec::new(),
            end: End::Answer(Duration::ZERO, message),
        }
    }
}

/// The content of a fake server.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) era: Era,
    /// Whether there is a tool that does what no server must.
    pub(crate) misbehaves: bool,
}

impl Content {
    /// What to do about a request. `server` is JSON that says who answers; `session_logs` whether
    /// the legacy session has asked for log notifications.
    pub(crate) fn script(
        &self,
        request: &Incoming<'_>,
        server: &str,
        session_logs: bool,
    ) -> Script {
        let id = request.id.map_or("null", RawValue::get);
        if let Some(refusal) = self.refusal(request) {
            return Script::now(error(id, refusal.0, refusal.1));
        }
        let method = request.method.as_deref().unwrap_or_default();
        match method {
            "server/discover" => Script::now(result(id, &discovered())),
            "initialize" => Script::now(result(id, &initialized())),
            "ping" | "logging/setLevel" => Script::now(result(id, "")),
            "tools/call" => self.call(request, id, server, session_logs),
            _ => Script::now(match self.listed(request, method) {
                Ok(members) => result(id, &members),
                Err((code, message)) => error(id, code, message),
            }),
        }
    }

    /// Why a request is refused before it is looked at.
    fn refusal(&self, request: &Incoming<'_>) -> Option<(i64, &'static str)> {
        let meta = &request.params.meta;
        let method = request.method.as_deref().unwrap_or_default();
        let legacy_only = matches!(method, "initialize" | "ping" | "logging/setLevel");
        match self.era {
            Era::Legacy if method == "server/discover" => Some((-32601, "Method not found")),
            Era::Legacy => None,
            Era::Modern if legacy_only => Some((-32601, "Method not found")),
            Era::Modern if meta.version.is_none() || meta.capabilities.is_none() => {
                Some((-32602, "The request has no metadata"))
            }
            Era::Modern if meta.version.as_deref() != Some(MODERN_VERSION) => {
                Some((-32022, "Unsupported protocol version"))
            }
            Era::Modern => None,
        }
    }

    fn listed(&self, request: &Incoming<'_>, method: &str) -> Result<String, (i64, &'static str)> {
        let hints = match self.era {
            Era::Modern => r#","ttlMs":300000,"cacheScope":"public","resultType":"complete""#,
            Era::Legacy => "",
        };
        let members = match method {
            "tools/list" if self.misbehaves => format!(r#""tools":[{TOOLS},{MISBEHAVE}]"#),
            "tools/list" => format!(r#""tools":[{TOOLS}]"#),
            "prompts/list" => {
                r#""prompts":[{"name":"greet","description":"A greeting"}]"#.to_owned()
            }
            "resources/list" => {
                format!(r#""resources":[{{"uri":"{RESOURCE_URI}","name":"readme"}}]"#)
            }
            "resources/templates/list" => r#""resourceTemplates":[]"#.to_owned(),
            "resources/read" if request.params.uri.as_deref() == Some(RESOURCE_URI) => {
                format!(r#""contents":[{{"uri":"{RESOURCE_URI}","text":"Read me"}}]"#)
            }
            "prompts/get" if request.params.name.as_deref() == Some("greet") => {
                r#""messages":[{"role":"user","content":{"type":"text","text":"Hello"}}]"#
                    .to_owned()
            }
            "resources/read" | "prompts/get" => return Err((-32602, "There is no such thing")),
            _ => return Err((-32601, "Method not found")),
        };
        Ok(members + hints)
    }

    fn call(&self, request: &Incoming<'_>, id: &str, server: &str, session_logs: bool) -> Script {
        let arguments = request.arguments();
        let answer = result(id, &self.called(request, server));
        let pause = Duration::from_millis(arguments.ms);
        let (steps, end) = match request.params.name.as_deref().unwrap_or_default() {
            "echo" | "locate" => (Vec::new(), End::Answer(Duration::ZERO, answer)),
            "misbehave" if self.misbehaves => (Vec::new(), End::Answer(Duration::ZERO, answer)),
            "delay" => (Vec::new(), End::Answer(pause, answer)),
            "report" => {
                let logs = match self.era {
                    Era::Modern => request.params.meta.log_level.is_some(),
                    Era::Legacy => session_logs,
                };
                let token = request.params.meta.progress_token.map(RawValue::get);
                let steps = reports(token, logs, &arguments);
                (steps, End::Answer(pause, answer))
            }
            "hang" => (Vec::new(), End::Never),
            "exit" => (Vec::new(), End::Exit(arguments.code)),
            _ => {
                let unknown = error(id, -32602, "There is no such tool");
                (Vec::new(), End::Answer(Duration::ZERO, unknown))
            }
        };
        Script { steps, end }
    }

    /// The members of a tool result.
    fn called(&self, request: &Incoming<'_>, server: &str) -> String {
        let arguments = request.params.arguments.map_or("null", RawValue::get);
        let tool = request.params.name.as_deref().unwrap_or_default();
        let result_type = match self.era {
            Era::Modern => r#","resultType":"complete""#,
            Era::Legacy => "",
        };
        format!(
            r#"{UNKNOWN_IN_RESULT},"content":[{{"type":"text","text":{text},{UNKNOWN_IN_CONTENT}}}],"structuredContent":{{"arguments":{arguments},"server":{server}}}{result_type}"#,
            text = quoted(tool),
        )
    }
}

fn reports(token: Option<&str>, logs: bool, arguments: &Arguments<'_>) -> Vec<(Duration, String)> {
    let name = quoted(&arguments.name);
    let total = arguments.n.min(MAX_NOTIFICATIONS);
    let mut steps = Vec::new();
    for at in 1..=total {
        let mut pause = Duration::from_millis(arguments.ms);
        if let Some(token) = token {
            let progress = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{at},"total":{total},"message":{name}}}}}"#
            );
            steps.push((std::mem::take(&mut pause), progress));
        }
        if logs {
            let log = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"warning","logger":"report","data":{{"name":{name},"step":{at}}}}}}}"#
            );
            steps.push((pause, log));
        }
    }
    steps
}

fn discovered() -> String {
    format!(
        r#""resultType":"complete","supportedVersions":["{MODERN_VERSION}"],"capabilities":{{"tools":{{}},"prompts":{{}},"resources":{{}},"logging":{{}}}},"ttlMs":300000,"cacheScope":"public","_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"fake","version":"1"}}}}"#
    )
}

fn initialized() -> String {
    format!(
        r#""protocolVersion":"{LEGACY_VERSION}","capabilities":{{"tools":{{}},"prompts":{{}},"resources":{{}},"logging":{{}}}},"serverInfo":{{"name":"fake","version":"1"}}"#
    )
}

fn result(id: &str, members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{members}}}}}"#)
}

/// An error response.
pub(crate) fn error(id: &str, code: i64, message: &str) -> String {
    let data = if code == -32022 {
        format!(r#","data":{{"supported":["{MODERN_VERSION}"]}}"#)
    } else {
        String::new()
    };
    let message = quoted(message);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}{data}}}}}"#)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
