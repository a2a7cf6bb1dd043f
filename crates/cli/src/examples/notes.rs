//! `notes`: a scratchpad that a team shares, in memory.
//!
//! Each note is also a resource, `note:///{id}`. Modern clients learn of changes by
//! `subscriptions/listen`, a legacy one on its connection.

mod store;
mod tools;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, CompletionInfo,
    ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    Prompt, PromptArgument, PromptMessage, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, Reference, Resource, ResourceContents, ResourceTemplate,
    ResourceUpdatedNotificationParam, Role, ServerCapabilities, ServerConfig,
    SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
};
use rmcp::service::{
    Peer, RequestContext, ServiceError, SubscriptionContext, SubscriptionSendError,
    SubscriptionSink,
};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use self::store::{Change, MAX_NOTES, Note, Notes};
use super::table::{self, FOREVER_MS, Table};

const URI_PREFIX: &str = "note:///";
const URI_TEMPLATE: &str = "note:///{id}";
const MIME_TYPE: &str = "text/markdown";
const SUMMARIZE: &str = "summarize_notes";
const TOPIC: &str = "topic";
/// How many notes a prompt quotes at most.
const MAX_QUOTED: usize = 20;
/// How many changes a subscription may lag behind before it is told that anything may have changed.
const MAX_LAG: usize = 256;
/// How many subscriptions may be between their request and their start.
const MAX_OPENING: usize = 64;

/// The server.
pub(super) struct NotesServer {
    tools: Table<Notes>,
    state: Mutex<State>,
    changes: broadcast::Sender<Change>,
    closing: CancellationToken,
}

struct State {
    notes: Notes,
    /// The notes that a legacy client wants to hear of; only ids that exist, so as bounded as they
    /// are.
    subscribed: BTreeSet<u64>,
    /// Receivers for subscriptions that are being acknowledged, so that none misses what changes
    /// meanwhile.
    opening: VecDeque<broadcast::Receiver<Change>>,
}

impl NotesServer {
    /// A scratchpad with its first notes, whose subscriptions end when `closing` is cancelled.
    pub(super) fn new(closing: CancellationToken) -> Self {
        Self {
            tools: tools::table(),
            state: Mutex::new(State {
                notes: Notes::first(),
                subscribed: BTreeSet::new(),
                opening: VecDeque::new(),
            }),
            changes: broadcast::channel(MAX_LAG).0,
            closing,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Notes are changed by single insertions and removals, so a panic leaves none half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everyone who wants to know of a change.
    async fn announce(&self, change: Change, peer: &Peer<RoleServer>) -> Result<(), ServiceError> {
        // It fails only where no subscription is open.
        let _ = self.changes.send(change);
        // Only a legacy client introduces itself once for the whole connection, and only it is told
        // on that.
        if peer.peer_info().is_none() {
            return Ok(());
        }
        if change.alters_list() {
            peer.notify_resource_list_changed().await?;
        }
        let id = change.id();
        let subscribed = match change {
            Change::Deleted(_) => self.state().subscribed.remove(&id),
            Change::Added(_) | Change::Updated(_) => self.state().subscribed.contains(&id),
        };
        if subscribed {
            let update = ResourceUpdatedNotificationParam::new(note_uri(id));
            peer.notify_resource_updated(update).await?;
        }
        Ok(())
    }

    /// Finds the note that a URI names, or the error that says that there is none.
    fn find(&self, uri: &str) -> Result<Note, ErrorData> {
        let note = note_id(uri).and_then(|id| self.state().notes.get(id).cloned());
        note.ok_or_else(|| no_such_note(uri))
    }

    /// The notes about a topic, or the newest ones where none is given.
    fn about(&self, topic: Option<&str>) -> Result<Vec<Note>, ErrorData> {
        let state = self.state();
        let notes: Vec<Note> = match topic {
            None => state
                .notes
                .newest_first()
                .take(MAX_QUOTED)
                .cloned()
                .collect(),
            Some(topic) => {
                let found = state.notes.search(topic);
                found.into_iter().take(MAX_QUOTED).cloned().collect()
            }
        };
        if notes.is_empty() {
            return Err(ErrorData::invalid_params("No note is about that", None));
        }
        Ok(notes)
    }
}

fn no_such_note(uri: &str) -> ErrorData {
    let data = serde_json::json!({ "uri": uri });
    ErrorData::resource_not_found("There is no such note", Some(data))
}

fn note_uri(id: u64) -> String {
    format!("{URI_PREFIX}{id}")
}

fn note_id(uri: &str) -> Option<u64> {
    let id = uri.strip_prefix(URI_PREFIX)?.parse().ok()?;
    // Other spellings of a number, such as `+1` or `01`, are other URIs.
    (note_uri(id) == uri).then_some(id)
}

fn note_resource(note: &Note) -> Resource {
    let size = markdown(note).len() as u64;
    Resource::new(note_uri(note.id), format!("note-{}", note.id))
        .with_title(&note.title)
        .with_mime_type(MIME_TYPE)
        .with_size(size)
}

fn note_contents(note: &Note) -> ResourceContents {
    ResourceContents::text(markdown(note), note_uri(note.id)).with_mime_type(MIME_TYPE)
}

fn markdown(note: &Note) -> String {
    format!("# {}\n\n{}\n", note.title, note.text)
}

/// Passes changes on to one subscription until it ends.
async fn forward(
    sink: &SubscriptionSink,
    mut changes: broadcast::Receiver<Change>,
) -> Result<(), SubscriptionSendError> {
    let list = sink.accepted().resources_list_changed == Some(true);
    let accepted = sink
        .accepted()
        .resource_subscriptions
        .clone()
        .unwrap_or_default();
    loop {
        let (list_changed, updated) = match changes.recv().await {
            Ok(change) => (change.alters_list(), vec![note_uri(change.id())]),
            Err(RecvError::Lagged(_)) => (true, accepted.clone()),
            Err(RecvError::Closed) => return Ok(()),
        };
        if list && list_changed {
            sink.notify_resource_list_changed().await?;
        }
        for uri in updated.into_iter().filter(|uri| accepted.contains(uri)) {
            sink.notify_resource_updated(uri).await?;
        }
    }
}

impl ServerHandler for NotesServer {
    fn get_info(&self) -> ServerConfig {
        super::config(
            "switchboard-notes",
            "Team notes",
            ServerCapabilities::builder()
                .enable_completions()
                .enable_prompts()
                .enable_resources()
                .enable_resources_subscribe()
                .enable_resources_list_changed()
                .enable_tools()
                .build(),
            "A scratchpad that everyone on the team sees. Search it before you ask around, and note what others should \
             know. It lives in memory and is gone when the server stops.",
        )
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        super::first_page(request)?;
        Ok(table::list(self.tools.tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let (result, change) = {
            let mut state = self.state();
            let result = self
                .tools
                .call(&mut state.notes, &request.name, arguments)?;
            (result, state.notes.take_change())
        };
        if let Some(change) = change {
            // The note is changed whether or not everyone could be told, and no longer worth
            // waiting for once nobody can be.
            tokio::select! {
                _ = self.announce(change, &context.peer) => {}
                () = self.closing.cancelled() => {}
            }
        }
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        super::first_page(request)?;
        let resources = self
            .state()
            .notes
            .newest_first()
            .map(note_resource)
            .collect();
        Ok(ListResourcesResult::with_all_items(resources))
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        super::first_page(request)?;
        let template = ResourceTemplate::new(URI_TEMPLATE, "note")
            .with_title("A note")
            .with_description("A note on the team's scratchpad, by its id")
            .with_mime_type(MIME_TYPE);
        Ok(ListResourceTemplatesResult::with_all_items(vec![template]).with_ttl_ms(FOREVER_MS))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let note = self.find(&request.uri)?;
        Ok(ReadResourceResult::new(vec![note_contents(&note)]).into())
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        super::first_page(request)?;
        let topic = PromptArgument::new(TOPIC)
            .with_title("Topic")
            .with_description(
                "Words that the notes must contain; without it the newest notes are taken",
            )
            .with_required(false);
        let description = "Sum up what the team's notes say, about one topic or altogether";
        let prompt = Prompt::new(SUMMARIZE, Some(description), Some(vec![topic]))
            .with_title("Summarize notes");
        Ok(ListPromptsResult::with_all_items(vec![prompt]).with_ttl_ms(FOREVER_MS))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name != SUMMARIZE {
            return Err(ErrorData::invalid_params("There is no such prompt", None));
        }
        let arguments = request.arguments.unwrap_or_default();
        let topic = arguments.get(TOPIC).and_then(|topic| topic.as_str());
        let topic = topic.map(str::trim).filter(|topic| !topic.is_empty());
        let notes = self.about(topic)?;
        let about = topic.map_or(String::new(), |topic| format!(" about \"{topic}\""));
        let task = format!(
            "Summarize the following notes of our team{about}. Keep decisions, names and dates, say where notes \
             contradict each other, and name the note that each point comes from."
        );
        let quoted = notes.iter().map(|note| {
            PromptMessage::new(Role::User, ContentBlock::resource(note_contents(note)))
        });
        let messages = [PromptMessage::new_text(Role::User, task)];
        Ok(GetPromptResult::new(messages.into_iter().chain(quoted).collect()).into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let (argument, prefix) = (request.argument.name.as_str(), &request.argument.value);
        let mut values: Vec<String> = match &request.r#ref {
            Reference::Resource(template) if template.uri == URI_TEMPLATE && argument == "id" => {
                let ids = self
                    .state()
                    .notes
                    .newest_first()
                    .map(|note| note.id.to_string())
                    .collect::<Vec<_>>();
                ids.into_iter()
                    .filter(|id| id.starts_with(prefix))
                    .collect()
            }
            Reference::Prompt(prompt) if prompt.name == SUMMARIZE && argument == TOPIC => {
                self.state().notes.topics(prefix)
            }
            _ => {
                return Err(ErrorData::invalid_params(
                    "There is nothing to complete",
                    None,
                ));
            }
        };
        let total = u32::try_from(values.len()).ok();
        let more = values.len() > CompletionInfo::MAX_VALUES;
        values.truncate(CompletionInfo::MAX_VALUES);
        CompletionInfo::with_pagination(values, total, more)
            .map(CompleteResult::new)
            .map_err(|error| ErrorData::internal_error(error, None))
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let mut accepted = requested.supported_by(&self.get_info().capabilities);
        if let Some(uris) = &mut accepted.resource_subscriptions {
            uris.retain(|uri| note_id(uri).is_some());
            uris.truncate(MAX_NOTES);
        }
        let mut state = self.state();
        state.opening.truncate(MAX_OPENING - 1);
        state.opening.push_back(self.changes.subscribe());
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let earlier = self.state().opening.pop_front();
        let changes = earlier.unwrap_or_else(|| self.changes.subscribe());
        tokio::select! {
            result = forward(context.sink(), changes) => {
                result.map_err(|error| ErrorData::internal_error(error.to_string(), None))
            }
            () = context.cancelled() => Ok(()),
            () = self.closing.cancelled() => Ok(()),
        }
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let mut state = self.state();
        let id = note_id(&request.uri).filter(|id| state.notes.get(*id).is_some());
        state
            .subscribed
            .insert(id.ok_or_else(|| no_such_note(&request.uri))?);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if let Some(id) = note_id(&request.uri) {
            self.state().subscribed.remove(&id);
        }
        Ok(())
    }
}
