//! Who is behind rmcp's client: answers what a server asks, and writes down what it is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{
    ClientConfig, CreateMessageRequestParams, CreateMessageResult, CustomNotification,
    ElicitRequestParams, ElicitResult, Implementation, ListRootsResult,
    LoggingMessageNotificationParam, ProgressNotificationParam, ResourceUpdatedNotificationParam,
    TASKS_EXTENSION_ID,
};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{ClientHandler, ErrorData, RoleClient};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::PATIENCE;

/// Who answers what a server asks, as `tests/real/person.mjs`, and writes down what it is told.
#[derive(Clone, Default)]
pub(super) struct Person(Arc<Told>);

#[derive(Default)]
struct Told {
    told: Mutex<News>,
    /// Rung whenever something was written down.
    more: Notify,
}

/// What was asked and told since the step began.
#[derive(Default)]
pub(super) struct News {
    pub(super) action: Value,
    pub(super) questions: Vec<Value>,
    pub(super) progress: Vec<Value>,
    pub(super) logs: Vec<Value>,
    pub(super) changes: Vec<Value>,
    pub(super) completed: Vec<Value>,
}

impl Person {
    pub(super) fn news(&self) -> MutexGuard<'_, News> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hear(&self, write: impl FnOnce(&mut News)) {
        write(&mut self.news());
        self.0.more.notify_waiters();
    }

    pub(super) fn elicit(&self, request: &ElicitRequestParams) -> Value {
        let mut question = json!(request);
        question["method"] = json!("elicitation/create");
        // What the modern era has no more is read as an empty text.
        if question["elicitationId"] == "" {
            question["elicitationId"] = Value::Null;
        }
        let mut answer = json!({ "action": self.news().action });
        if answer["action"] == "accept" && question["mode"] == "form" {
            let schema = &question["requestedSchema"];
            let required: Vec<String> = wire(schema["required"].clone());
            // What has no default is answered with its own name where it must be, else left out.
            answer["content"] = schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(name, field)| {
                    let default = field.get("default").cloned();
                    let name_itself = required.contains(name).then(|| json!(name));
                    default.or(name_itself).map(|value| (name.clone(), value))
                })
                .collect();
        }
        self.hear(|news| news.questions.push(question));
        answer
    }

    pub(super) fn sample(&self, params: &CreateMessageRequestParams) -> Value {
        let mut question = json!(params);
        question["method"] = json!("sampling/createMessage");
        let messages = question["messages"].as_array();
        let content = messages.and_then(|all| all.last()).map(|m| &m["content"]);
        let content = content.cloned().unwrap_or_default();
        let said = content.as_array().and_then(|all| all.last());
        let said = said.unwrap_or(&content);
        let answer = if said["type"] == "tool_result" || question["tools"].is_null() {
            let words = said["text"].as_str();
            let words = words.or(said["content"][0]["text"].as_str());
            let text = format!("you said {}", words.unwrap_or_default());
            json!({
                "role": "assistant", "model": "none", "stopReason": "endTurn",
                "content": { "type": "text", "text": text },
            })
        } else {
            let input = json!({ "city": "Oslo" });
            let used =
                json!({ "type": "tool_use", "id": "use-1", "name": "weather", "input": input });
            json!({
                "role": "assistant", "model": "none", "stopReason": "toolUse",
                "content": [used],
            })
        };
        self.hear(|news| news.questions.push(question));
        answer
    }

    pub(super) fn roots(&self) -> Value {
        self.hear(|news| news.questions.push(json!({ "method": "roots/list" })));
        let root = json!({ "uri": "file:///project", "name": "project" });
        json!({ "roots": [root] })
    }

    /// Waits until enough was told; what of it is there after the time is up must do.
    pub(super) async fn until(&self, enough: impl Fn(&News) -> bool) -> Result<(), String> {
        let waited = timeout(PATIENCE, async {
            loop {
                let more = self.0.more.notified();
                if enough(&self.news()) {
                    return;
                }
                more.await;
            }
        });
        waited
            .await
            .map_err(|_| "never told what was waited for".to_owned())
    }
}

/// A type of rmcp from what it looks like on the wire.
pub(super) fn wire<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("what the protocol knows")
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let capabilities = wire(json!({
            "elicitation": { "form": {}, "url": {} },
            "sampling": { "tools": {} },
            "roots": { "listChanged": true },
            "extensions": { TASKS_EXTENSION_ID: {} },
        }));
        let info = Implementation::new("switchboard-tests-rmcp", "1");
        ClientConfig::new(capabilities, info)
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(wire(self.elicit(&request)))
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        Ok(wire(self.sample(&params)))
    }

    async fn list_roots(
        &self,
        _context: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        Ok(wire(self.roots()))
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.hear(|news| news.progress.push(json!(params)));
    }

    async fn on_logging_message(
        &self,
        params: LoggingMessageNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.hear(|news| news.logs.push(json!(params)));
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let change = json!({ "change": "resources/updated", "uri": params.uri });
        self.hear(|news| news.changes.push(change));
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        let change = json!({ "change": "tools/list_changed" });
        self.hear(|news| news.changes.push(change));
    }

    async fn on_custom_notification(
        &self,
        notification: CustomNotification,
        _context: NotificationContext<RoleClient>,
    ) {
        if notification.method == "notifications/elicitation/complete" {
            let params = notification.params.unwrap_or_default();
            self.hear(|news| news.completed.push(params["elicitationId"].clone()));
        }
    }
}
