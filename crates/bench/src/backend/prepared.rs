//! The answers of a fake server, written once: a call costs it an id.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fake::{Fake, ServerEra};
use crate::wire::TOOL;

/// Results up to this many bytes are copied behind their id; a larger one is a part of its own.
const JOINED: usize = 16 * 1024;
/// What results say over and over, as the logs do that tools read: for what looks at each byte of a
/// result, it matters which ones they are.
const TEXT: &str = "2026-11-29T10:14:07Z INFO request GET https://docs.example.com/guide/setup took 12 ms, status 200; ";
/// The most tools on a page, as many as Switchboard puts on one of its own.
pub(crate) const PAGE: usize = 1_000;

/// A fake server's answers.
pub(crate) struct Prepared {
    fake: Fake,
    introduction: Bytes,
    call: Bytes,
    pages: Vec<Bytes>,
}

/// What comes of a message.
pub(crate) enum Reply {
    /// Nothing is said: it was a notification.
    Accepted,
    /// A response, in parts that are to be written one after the other.
    Message {
        /// The HTTP status that goes with it.
        status: StatusCode,
        /// The bytes of it.
        parts: Vec<Bytes>,
        /// Whether it begins a session.
        begins_session: bool,
    },
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    cursor: Option<Cow<'a, str>>,
}

impl Prepared {
    /// Writes the answers of this server.
    pub(crate) fn new(fake: Fake) -> Self {
        Self {
            fake,
            introduction: introduction(fake.era),
            call: call(fake),
            pages: pages(fake),
        }
    }

    /// Answers one message.
    pub(crate) fn answer(&self, message: &[u8]) -> Reply {
        let Ok(head) = serde_json::from_slice::<Head<'_>>(message) else {
            let error = r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request"}}"#;
            return whole(
                StatusCode::BAD_REQUEST,
                Bytes::from_static(error.as_bytes()),
            );
        };
        let Some(id) = head.id.map(RawValue::get) else {
            return Reply::Accepted;
        };
        let is_modern = self.fake.era == ServerEra::Modern;
        let (result, begins_session) = match head.method.as_ref() {
            "tools/call" => (&self.call, false),
            "tools/list" => {
                let cursor = head.params.and_then(|params| params.cursor);
                let page = cursor.map_or(Some(0), |cursor| cursor.parse().ok());
                match page.and_then(|page: usize| self.pages.get(page)) {
                    Some(page) => (page, false),
                    None => return error(StatusCode::OK, id, -32602, "Invalid cursor"),
                }
            }
            "server/discover" if is_modern => (&self.introduction, false),
            "initialize" if !is_modern => (&self.introduction, self.fake.era == ServerEra::Legacy),
            "ping" if !is_modern => return result(id, &Bytes::from_static(b"{}"), false),
            // A legacy server knows no status for a method that it does not know.
            _ if !is_modern => return error(StatusCode::OK, id, -32601, "Method not found"),
            _ => return error(StatusCode::NOT_FOUND, id, -32601, "Method not found"),
        };
        self::result(id, result, begins_session)
    }
}

fn whole(status: StatusCode, message: Bytes) -> Reply {
    Reply::Message {
        status,
        parts: vec![message],
        begins_session: false,
    }
}

fn error(status: StatusCode, id: &str, code: i32, message: &str) -> Reply {
    let text =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#);
    whole(status, text.into())
}

fn result(id: &str, result: &Bytes, begins_session: bool) -> Reply {
    let joined = result.len() <= JOINED;
    let mut head = BytesMut::with_capacity(64 + if joined { result.len() } else { 0 });
    for part in [r#"{"jsonrpc":"2.0","id":"#, id, r#","result":"#] {
        head.extend_from_slice(part.as_bytes());
    }
    let parts = if joined {
        head.extend_from_slice(result);
        head.extend_from_slice(b"}");
        vec![head.freeze()]
    } else {
        vec![head.freeze(), result.clone(), Bytes::from_static(b"}")]
    };
    Reply::Message {
        status: StatusCode::OK,
        parts,
        begins_session,
    }
}

/// The result of `server/discover`, or that of `initialize`.
fn introduction(era: ServerEra) -> Bytes {
    let text = if era == ServerEra::Modern {
        concat!(
            r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"#,
            r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"switchboard-bench","version":"1.0.0"}},"#,
            r#""ttlMs":3600000,"cacheScope":"public"}"#
        )
    } else {
        concat!(
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"#,
            r#""serverInfo":{"name":"switchboard-bench","version":"1.0.0"}}"#
        )
    };
    Bytes::from_static(text.as_bytes())
}

/// A result of the promised size, or the smallest there is.
fn call(fake: Fake) -> Bytes {
    let kind = match fake.era {
        ServerEra::Modern => r#""resultType":"complete","#,
        ServerEra::Legacy | ServerEra::Sessionless => "",
    };
    let before = format!(r#"{{{kind}"content":[{{"type":"text","text":""#);
    let after = r#""}]}"#;
    let length = fake.result_bytes.saturating_sub(before.len() + after.len());
    let mut text = String::with_capacity(fake.result_bytes);
    text.push_str(&before);
    text.extend(TEXT.chars().cycle().take(length));
    text.push_str(after);
    text.into()
}

/// The pages of the list: the one tool that is called, and others that are only there.
fn pages(fake: Fake) -> Vec<Bytes> {
    let count = fake.tools.max(1);
    let page = |page: usize| {
        let mut text = String::from("{");
        if fake.era == ServerEra::Modern {
            text.push_str(r#""resultType":"complete","ttlMs":3600000,"cacheScope":"public","#);
        }
        text.push_str(r#""tools":["#);
        let end = count.min((page + 1) * PAGE);
        for index in page * PAGE..end {
            if index % PAGE > 0 {
                text.push(',');
            }
            push_tool(&mut text, index);
        }
        text.push(']');
        if end < count {
            // Writing into a `String` does not fail.
            let _ = write!(text, r#","nextCursor":"{}""#, page + 1);
        }
        text.push('}');
        Bytes::from(text)
    };
    (0..count.div_ceil(PAGE)).map(page).collect()
}

fn push_tool(text: &mut String, index: usize) {
    let name = match index {
        0 => TOOL.to_owned(),
        _ => format!("tool_{index}"),
    };
    // Writing into a `String` does not fail.
    let _ = write!(
        text,
        concat!(
            r#"{{"name":"{}","description":"Answers a constant text, whatever it is asked for","#,
            r#""inputSchema":{{"type":"object","properties":{{"message":{{"type":"string","#,
            r#""description":"What is said to it"}}}}}}}}"#
        ),
        name
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake::Form;
    use serde_json::Value;

    fn ask(fake: Fake, message: &str) -> (StatusCode, Value) {
        match Prepared::new(fake).answer(message.as_bytes()) {
            Reply::Message { status, parts, .. } => {
                (status, serde_json::from_slice(&parts.concat()).unwrap())
            }
            Reply::Accepted => (StatusCode::ACCEPTED, Value::Null),
        }
    }

    fn legacy() -> Fake {
        Fake {
            era: ServerEra::Legacy,
            form: Form::Json,
            ..Fake::modern(200, 1)
        }
    }

    #[test]
    fn a_result_is_of_the_promised_size_in_both_eras() {
        for result_bytes in [200, 100 * 1024] {
            for fake in [
                Fake::modern(result_bytes, 1),
                Fake {
                    result_bytes,
                    ..legacy()
                },
            ] {
                let (_, answer) = ask(fake, r#"{"id":"x","method":"tools/call"}"#);
                assert_eq!(answer["id"], "x");
                assert_eq!(answer["result"].to_string().len(), result_bytes);
            }
        }
    }

    #[test]
    fn all_tools_are_on_the_pages() {
        let fake = Fake::modern(200, 2_001);
        let mut names = Vec::new();
        let mut cursor = String::new();
        loop {
            let message = format!(r#"{{"id":1,"method":"tools/list","params":{{{cursor}}}}}"#);
            let (_, answer) = ask(fake, &message);
            let tools = answer["result"]["tools"].as_array().unwrap();
            names.extend(
                tools
                    .iter()
                    .map(|tool| tool["name"].as_str().unwrap().to_owned()),
            );
            match answer["result"]["nextCursor"].as_str() {
                Some(next) => cursor = format!(r#""cursor":"{next}""#),
                None => break,
            }
        }
        assert_eq!(names.len(), 2_001);
        assert_eq!(
            (names[0].as_str(), names[2_000].as_str()),
            (TOOL, "tool_2000")
        );
        let wrong = r#"{"id":1,"method":"tools/list","params":{"cursor":"9"}}"#;
        assert_eq!(ask(fake, wrong).1["error"]["code"], -32602);
    }

    #[test]
    fn each_era_knows_its_own_introduction_only() {
        let discover = r#"{"id":1,"method":"server/discover"}"#;
        let initialize = r#"{"id":1,"method":"initialize"}"#;
        let modern = Fake::modern(200, 1);
        assert_eq!(ask(modern, discover).1["result"]["resultType"], "complete");
        assert_eq!(ask(modern, initialize).0, StatusCode::NOT_FOUND);
        assert_eq!(
            ask(legacy(), initialize).1["result"]["protocolVersion"],
            "2025-11-25"
        );
        assert_eq!(ask(legacy(), discover).1["error"]["code"], -32601);
    }

    #[test]
    fn notifications_are_accepted_and_nonsense_is_refused() {
        let initialized = r#"{"method":"notifications/initialized"}"#;
        assert_eq!(ask(legacy(), initialized).0, StatusCode::ACCEPTED);
        assert_eq!(ask(legacy(), "[]").0, StatusCode::BAD_REQUEST);
    }
}
