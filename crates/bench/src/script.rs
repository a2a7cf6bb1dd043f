//! What a client asks, written before the clock runs: each request lacks only its id.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use crate::Failure;
use crate::wire::{Era, SESSION, TOOL, call_members};

/// Where requests go, and what every request there carries.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The address of the listener.
    pub(crate) address: SocketAddr,
    /// The path of the endpoint.
    pub(crate) path: String,
    /// Headers beside those that the protocol asks for, such as a credential.
    pub(crate) headers: HeaderMap,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    before_id: Bytes,
    after_id: Bytes,
    /// What its answer is checked for.
    pub(crate) expected: Expected,
}

/// What an answer has to be, beside being of status 200.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// The result of the request with this id, in a body of at least this many bytes.
    Result(usize),
    /// Exactly this many bytes.
    Bytes(usize),
}

/// What one client asks in turn.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// Which era its client speaks.
    pub(crate) era: Era,
    /// The requests.
    pub(crate) steps: Arc<[Step]>,
    /// How many of them are made one after another and count as one call.
    pub(crate) steps_per_call: usize,
}

impl Target {
    /// An endpoint that asks for no headers of its own.
    pub(crate) fn new(address: SocketAddr, path: String) -> Self {
        Self {
            address,
            path,
            headers: HeaderMap::new(),
        }
    }

    fn step(
        &self,
        era: Era,
        (method, name): (&'static str, Option<&str>),
        members: &str,
        at_least: usize,
    ) -> Result<Step, Failure> {
        let mut headers = era.headers(&self.address.to_string(), method, name)?;
        headers.extend(self.headers.clone());
        let (before_id, after_id) = era.around_id(method, members);
        Ok(Step {
            method: Method::POST,
            uri: uri(&self.path)?,
            headers,
            before_id,
            after_id,
            expected: Expected::Result(at_least),
        })
    }

    /// `tools/call` of these names in turn.
    ///
    /// # Errors
    /// If a name cannot stand in a header.
    pub(crate) fn calls(
        &self,
        era: Era,
        names: &[String],
        argument_bytes: usize,
        result_bytes: usize,
    ) -> Result<Script, Failure> {
        let steps = names.iter().map(|name| {
            let members = call_members(name, argument_bytes);
            self.step(era, ("tools/call", Some(name)), &members, result_bytes)
        });
        Ok(Script {
            era,
            steps: steps.collect::<Result<_, _>>()?,
            steps_per_call: 1,
        })
    }

    /// One page of `tools/list`, from this cursor.
    ///
    /// # Errors
    /// If the path is none.
    pub(crate) fn page(&self, cursor: Option<&str>) -> Result<Step, Failure> {
        let members = cursor.map_or_else(String::new, |cursor| format!(r#""cursor":"{cursor}","#));
        self.step(Era::Modern, ("tools/list", None), &members, 0)
    }

    /// A request of a legacy client that begins its session.
    ///
    /// # Errors
    /// If the path is none.
    pub(crate) fn initialize(&self) -> Result<Step, Failure> {
        let members = concat!(
            r#""protocolVersion":"2025-11-25","capabilities":{},"#,
            r#""clientInfo":{"name":"switchboard-bench","version":"1.0.0"},"#
        );
        self.step(Era::Legacy, ("initialize", None), members, 0)
    }

    /// The notification of a legacy client that its session is begun.
    ///
    /// # Errors
    /// If the path is none.
    pub(crate) fn initialized(&self, session: Option<&HeaderValue>) -> Result<Step, Failure> {
        let method = "notifications/initialized";
        let step = self.step(Era::Legacy, (method, None), "", 0)?;
        Ok(Step {
            before_id: Bytes::from_static(br#"{"jsonrpc":"2.0""#),
            after_id: Bytes::from(format!(r#","method":"{method}"}}"#)),
            ..step.in_session(session)
        })
    }

    /// One small call as it goes over a connection, for clients that read by themselves.
    ///
    /// # Errors
    /// If the path is none.
    pub(crate) fn one_call_as_text(&self, era: Era) -> Result<Vec<u8>, Failure> {
        let script = self.calls(era, &[TOOL.to_owned()], 5, 0)?;
        let step = &script.steps[0];
        let body = step.body(0);
        let mut text = format!("POST {} HTTP/1.1\r\n", step.uri).into_bytes();
        for (name, value) in &step.headers {
            text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        text.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
        text.extend_from_slice(&body);
        Ok(text)
    }

    /// `subscriptions/listen` to changes of the list of tools.
    ///
    /// # Errors
    /// If the path is none.
    pub(crate) fn listen(&self) -> Result<Step, Failure> {
        let members = r#""notifications":{"toolsListChanged":true},"#;
        self.step(Era::Modern, ("subscriptions/listen", None), members, 0)
    }

    /// A plain GET of a file.
    ///
    /// # Errors
    /// If the path is none.
    pub(crate) fn file(&self, path: &str, bytes: usize) -> Result<Step, Failure> {
        let step = self.page(None)?;
        Ok(Step {
            method: Method::GET,
            uri: uri(path)?,
            before_id: Bytes::new(),
            after_id: Bytes::new(),
            expected: Expected::Bytes(bytes),
            ..step
        })
    }
}

fn uri(path: &str) -> Result<Uri, Failure> {
    path.parse().map_err(Failure::at("cannot be asked for"))
}

impl Step {
    /// The request with this id.
    pub(crate) fn request(&self, id: u64) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body(id)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// The same without an id, as a notification is.
    pub(crate) fn notification(&self) -> Request<Full<Bytes>> {
        let body = Bytes::from([&self.before_id[..], &self.after_id].concat());
        self.request(0).map(|_| Full::new(body))
    }

    fn body(&self, id: u64) -> Bytes {
        if self.after_id.is_empty() {
            return Bytes::new();
        }
        let id = id.to_string();
        let length = self.before_id.len() + id.len() + self.after_id.len();
        let mut body = BytesMut::with_capacity(length);
        for part in [&self.before_id[..], id.as_bytes(), &self.after_id] {
            body.extend_from_slice(part);
        }
        body.freeze()
    }

    /// The same in this session.
    pub(crate) fn in_session(mut self, session: Option<&HeaderValue>) -> Self {
        if let Some(session) = session {
            self.headers.insert(SESSION, session.clone());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use serde_json::Value;

    fn target() -> Target {
        Target::new(([127, 0, 0, 1], 1).into(), "/mcp".to_owned())
    }

    async fn body(request: Request<Full<Bytes>>) -> Value {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn every_request_is_json() {
        let target = target();
        let names = ["a".to_owned(), "b".to_owned()];
        let script = target.calls(Era::Legacy, &names, 3, 200).unwrap();
        let second = body(script.steps[1].request(7)).await;
        assert_eq!(second["id"], 7);
        assert_eq!(second["params"]["name"], "b");
        assert_eq!(second["params"]["arguments"]["message"], "hhh");

        let page = body(target.page(Some("x")).unwrap().request(8)).await;
        assert_eq!(page["params"]["cursor"], "x");
        let session = HeaderValue::from_static("s");
        let initialized = target.initialized(Some(&session)).unwrap().notification();
        assert_eq!(initialized.headers()[SESSION], "s");
        assert_eq!(
            body(initialized).await,
            serde_json::json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
        );
        let listen = body(target.listen().unwrap().request(9)).await;
        assert_eq!(listen["params"]["notifications"]["toolsListChanged"], true);
        let initialize = body(target.initialize().unwrap().request(1)).await;
        assert_eq!(initialize["params"]["protocolVersion"], "2025-11-25");
    }

    #[test]
    fn a_file_is_asked_for_without_a_body() {
        let step = target().file("/page-0.json", 10).unwrap();
        assert_eq!(step.body(1), "");
    }
}
