//! rmcp's client, driven by a plan, in either era. It can be asked anything, and answers.

#![expect(
    deprecated,
    reason = "logs, sampling and roots are deprecated, and still in use"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResponse, ClientRequest,
    GetPromptRequestParams, GetTaskParams, InputRequest, InputRequests, InputResponses,
    ProtocolVersion, ReadResourceRequestParams, RequestMetaObject, ServerNotification,
    SetLevelRequestParams, SubscribeRequestParams, TaskPayload, UnsubscribeRequestParams,
    UpdateTaskParams,
};
use rmcp::service::{PeerRequestOptions, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use person::{News, Person, wire};

mod person;

/// How long a step may wait for a notification.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a plan against an endpoint, as the modern or as a legacy client, and returns what the
/// client saw, by the label of the step.
///
/// # Panics
///
/// If the client and the endpoint do not agree on a version.
pub async fn run(url: &str, modern: bool, plan: &Value) -> BTreeMap<String, Value> {
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    let transport = StreamableHttpClientTransport::from_config(config);
    let lifecycle = if modern {
        ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        }
    } else {
        ClientLifecycleMode::Initialize
    };
    let person = Person::default();
    let client = person
        .clone()
        .serve_with_lifecycle(transport, lifecycle)
        .await
        .expect("the client and the gateway agree");
    let mut driver = Driver {
        client,
        person,
        modern,
        seen: BTreeMap::new(),
    };
    driver.run(plan).await;
    driver.client.cancel().await.expect("the client ends");
    driver.seen
}

struct Driver {
    client: RunningService<RoleClient, Person>,
    person: Person,
    modern: bool,
    seen: BTreeMap<String, Value>,
}

impl Driver {
    async fn run(&mut self, steps: &Value) {
        for step in steps.as_array().expect("a plan is a list") {
            let action = step["elicitation"].as_str().unwrap_or("accept");
            {
                let mut news = self.person.news();
                news.action = json!(action);
                news.questions.clear();
                news.progress.clear();
                news.logs.clear();
            }
            let mut seen = match step["do"].as_str() {
                Some("list") => self.list().await,
                Some("call") => self.call(step).await,
                Some("task") => self.task(step).await,
                Some("cancel") => self.cancel(step).await,
                Some("read") => self.read(step).await,
                Some("prompt") => self.prompt(step).await,
                Some("listen") => Box::pin(self.listen(step)).await,
                other => panic!("unknown action {other:?}"),
            };
            let label = step["step"].as_str().expect("each step has a label");
            seen["step"] = json!(label);
            seen["questions"] = json!(self.person.news().questions);
            self.seen.insert(label.to_owned(), seen);
        }
    }

    async fn list(&self) -> Value {
        match self.client.list_all_tools().await {
            Ok(tools) => json!({ "items": tools }),
            Err(error) => failed(&error),
        }
    }

    async fn call(&self, step: &Value) -> Value {
        let mut request = call_of(step);
        if let Some(level) = step.get("log_level") {
            if self.modern {
                let mut meta = RequestMetaObject::new();
                meta.set_log_level(wire(level.clone()));
                request.meta = Some(meta);
            } else {
                let level = SetLevelRequestParams::new(wire(level.clone()));
                if let Err(error) = self.client.set_level(level).await {
                    return failed(&error);
                }
            }
        }
        let result = match self.client.call_tool(request).await {
            Ok(result) => json!(result),
            Err(error) => return failed(&error),
        };
        // The client hands notifications over in tasks of their own, so they may be behind.
        let number = |key: &str| step["awaits"][key].as_u64().unwrap_or(0);
        let (progress, logs) = (number("progress"), number("logs"));
        let completes = step["completes"] == true;
        let waited = self.person.until(|news| {
            let opened = news.questions.iter().filter_map(|q| q.get("elicitationId"));
            news.progress.len() as u64 >= progress
                && news.logs.len() as u64 >= logs
                && (!completes || opened.into_iter().all(|id| news.completed.contains(id)))
        });
        if let Err(late) = waited.await {
            return json!({ "error": { "message": late, "result": result } });
        }
        let mut news = self.person.news();
        let done = |told: &Value| told["progress"].as_f64().unwrap_or_default();
        news.progress.sort_by(|a, b| done(a).total_cmp(&done(b)));
        json!({
            "result": result,
            "progress": news.progress,
            "logs": news.logs,
            "completed": news.completed,
        })
    }

    async fn task(&self, step: &Value) -> Value {
        let created = match self.client.call_tool_once(call_of(step)).await {
            Ok(CallToolResponse::Task(created)) => created,
            Ok(other) => return json!({ "error": { "message": format!("{other:?}") } }),
            Err(error) => return failed(&error),
        };
        let id = created.task.task_id;
        let mut statuses = vec![json!(created.task.status)];
        let ended = timeout(PATIENCE, async {
            loop {
                let task = self.client.get_task(GetTaskParams::new(&id)).await;
                let task = task.map_err(|error| failed(&error))?.task;
                statuses.push(json!(task.status()));
                match task.payload {
                    TaskPayload::Completed { result } => return Ok(result),
                    TaskPayload::InputRequired { input_requests } => {
                        let answers = self.answers(input_requests);
                        let update = UpdateTaskParams::new(&id, answers);
                        let updated = self.client.update_task(update).await;
                        updated.map_err(|error| failed(&error))?;
                    }
                    TaskPayload::Working => {}
                    other => return Err(json!({ "error": { "message": format!("{other:?}") } })),
                }
                let pause = task.task.poll_interval_ms.unwrap_or(100);
                sleep(Duration::from_millis(pause)).await;
            }
        });
        match ended.await {
            Ok(Ok(result)) => json!({ "result": result, "statuses": statuses }),
            Ok(Err(error)) => error,
            Err(_) => json!({ "error": { "message": format!("no end after {statuses:?}") } }),
        }
    }

    /// Answers what a task asks.
    fn answers(&self, requests: InputRequests) -> InputResponses {
        let answer = |request| match request {
            InputRequest::Elicitation(request) => self.person.elicit(&request.params),
            InputRequest::CreateMessage(request) => self.person.sample(&request.params),
            InputRequest::ListRoots(_) => self.person.roots(),
            other => panic!("an unknown question: {other:?}"),
        };
        let requests = requests.into_iter();
        requests
            .map(|(key, request)| (key, answer(request)))
            .collect()
    }

    async fn cancel(&self, step: &Value) -> Value {
        let told = self.person.until(|news| !news.progress.is_empty());
        if self.modern {
            tokio::select! {
                result = self.client.call_tool(call_of(step)) => match result {
                    Ok(result) => return json!({ "cancelled": false, "result": result }),
                    Err(error) => return failed(&error),
                },
                told = told => if let Err(late) = told {
                    return json!({ "error": { "message": late } });
                },
            }
        } else {
            let request = CallToolRequest::new(call_of(step));
            let request = ClientRequest::CallToolRequest(request);
            let options = PeerRequestOptions::no_options();
            let handle = match self.client.send_cancellable_request(request, options).await {
                Ok(handle) => handle,
                Err(error) => return failed(&error),
            };
            if let Err(late) = told.await {
                return json!({ "error": { "message": late } });
            }
            if let Err(error) = handle.cancel(Some("seen enough".to_owned())).await {
                return failed(&error);
            }
        }
        json!({ "cancelled": true, "progress": self.person.news().progress })
    }

    async fn read(&self, step: &Value) -> Value {
        let uri = step["uri"].as_str().unwrap_or_default();
        let request = ReadResourceRequestParams::new(uri);
        shown(self.client.read_resource(request).await)
    }

    async fn prompt(&self, step: &Value) -> Value {
        let name = step["name"].as_str().unwrap_or_default();
        let request = GetPromptRequestParams::new(name);
        shown(self.client.get_prompt(request).await)
    }

    async fn listen(&mut self, step: &Value) -> Value {
        self.person.news().changes.clear();
        let heard = if self.modern {
            self.listen_modern(step).await
        } else {
            self.listen_legacy(step).await
        };
        match heard {
            Ok(()) => json!({ "changes": self.person.news().changes }),
            Err(error) => error,
        }
    }

    async fn listen_modern(&mut self, step: &Value) -> Result<(), Value> {
        let filter = wire(step["filter"].clone());
        let listening = self.client.listen(filter).await;
        let mut subscription = listening.map_err(|error| failed(&error))?;
        self.run(&step["steps"]).await;
        let all = timeout(PATIENCE, async {
            while !heard(&self.person.news(), step) {
                let change = match subscription.next().await {
                    Ok(Some(ServerNotification::ToolListChangedNotification(_))) => {
                        json!({ "change": "tools/list_changed" })
                    }
                    Ok(Some(ServerNotification::ResourceUpdatedNotification(updated))) => {
                        json!({ "change": "resources/updated", "uri": updated.params.uri })
                    }
                    Ok(Some(_)) => continue,
                    Ok(None) => return Err(json!({ "error": { "message": "the stream ended" } })),
                    Err(error) => return Err(failed(&error)),
                };
                self.person.hear(|news| news.changes.push(change));
            }
            Ok(())
        });
        let late = |_| json!({ "error": { "message": "never told what was waited for" } });
        all.await.map_err(late)??;
        subscription.cancel().await.map_err(|error| failed(&error))
    }

    async fn listen_legacy(&mut self, step: &Value) -> Result<(), Value> {
        let uris = step["filter"]["resourceSubscriptions"].as_array().cloned();
        let uris: Vec<String> = wire(json!(uris.unwrap_or_default()));
        for uri in &uris {
            let subscribed = self
                .client
                .subscribe(SubscribeRequestParams::new(uri))
                .await;
            subscribed.map_err(|error| failed(&error))?;
        }
        self.run(&step["steps"]).await;
        let told = self.person.until(|news| heard(news, step)).await;
        told.map_err(|late| json!({ "error": { "message": late } }))?;
        for uri in &uris {
            let request = UnsubscribeRequestParams::new(uri);
            let unsubscribed = self.client.unsubscribe(request).await;
            unsubscribed.map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

/// Whether all changes were told that a step waits for.
fn heard(news: &News, step: &Value) -> bool {
    let awaited = step["until"].as_array();
    awaited
        .into_iter()
        .flatten()
        .all(|change| news.changes.contains(change))
}

fn call_of(step: &Value) -> CallToolRequestParams {
    let name = step["name"].as_str().unwrap_or_default().to_owned();
    let arguments = step["arguments"].as_object().cloned();
    CallToolRequestParams::new(name).with_arguments(arguments.unwrap_or_default())
}

fn shown<T: serde::Serialize>(result: Result<T, ServiceError>) -> Value {
    match result {
        Ok(result) => json!({ "result": result }),
        Err(error) => failed(&error),
    }
}

fn failed(error: &ServiceError) -> Value {
    let error = match error {
        ServiceError::McpError(error) => json!(error),
        other => json!({ "message": other.to_string() }),
    };
    json!({ "error": error })
}
