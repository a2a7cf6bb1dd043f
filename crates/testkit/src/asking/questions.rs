//! What the server asks.

use serde_json::{Value, json};

/// The schema of the usual form.
fn usual_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "answer": { "type": "string", "title": "Answer" },
            "count": { "type": "integer", "minimum": 0, "default": 7 },
        },
        "required": ["answer"],
    })
}

/// One request of a server to its client.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) method: &'static str,
    pub(super) params: Option<Value>,
}

impl Question {
    /// For a form; `schema` is null for the usual one. Revisions before 2025-11-25 know no `mode`.
    pub(super) fn form(text: &str, schema: &Value, with_mode: bool) -> Self {
        let schema = if schema.is_null() {
            usual_schema()
        } else {
            schema.clone()
        };
        let mut params = json!({ "message": text, "requestedSchema": schema });
        if with_mode {
            params["mode"] = json!("form");
        }
        Self {
            method: "elicitation/create",
            params: Some(params),
        }
    }

    /// For a visit to a URL. Only 2025-11-25 knows `elicitationId`.
    pub(super) fn url(text: &str, elicitation: Option<&str>) -> Self {
        let mut params = json!({ "mode": "url", "message": text, "url": url_of(text) });
        if let Some(id) = elicitation {
            params["elicitationId"] = json!(id);
        }
        Self {
            method: "elicitation/create",
            params: Some(params),
        }
    }

    /// For a message of a model.
    pub(super) fn sample(text: &str) -> Self {
        let content = json!({ "type": "text", "text": text });
        let messages = json!([{ "role": "user", "content": content }]);
        Self::sample_of(messages, false)
    }

    /// For a message of a model after these, that may use a tool if there are tools.
    pub(super) fn sample_of(messages: Value, with_tools: bool) -> Self {
        let mut params = json!({ "maxTokens": 100 });
        params["messages"] = messages;
        if with_tools {
            let schema = json!({ "type": "object", "properties": { "at": { "type": "string" } } });
            params["tools"] = json!([
                { "name": "look", "description": "Looks", "inputSchema": schema }
            ]);
            params["toolChoice"] = json!({ "mode": "auto" });
        }
        Self {
            method: "sampling/createMessage",
            params: Some(params),
        }
    }

    /// For the roots.
    pub(super) fn roots() -> Self {
        Self {
            method: "roots/list",
            params: None,
        }
    }

    /// As a member of `inputRequests`.
    pub(super) fn to_input_request(&self) -> Value {
        let mut request = json!({ "method": self.method });
        if let Some(params) = &self.params {
            request["params"] = params.clone();
        }
        request
    }

    /// As a request.
    pub(super) fn to_request(&self, id: u64) -> Value {
        let mut request = self.to_input_request();
        request["jsonrpc"] = json!("2.0");
        request["id"] = json!(id);
        request
    }
}

/// The URL that a question with this text is about.
pub(super) fn url_of(text: &str) -> String {
    let path: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    format!("https://visit.example/{path}")
}
