//! The cells of the table: each method, each policy, each era of clients.

use serde_json::{Value, json};

use crate::scene::WATCHED;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    ToolsList,
    ToolsCall,
    PromptsList,
    PromptsGet,
    ResourcesList,
    TemplatesList,
    ResourcesRead,
    Complete,
    Subscribe,
    Tasks,
    Discover,
}

impl Method {
    pub(crate) const ALL: [Self; 11] = [
        Self::ToolsList,
        Self::ToolsCall,
        Self::PromptsList,
        Self::PromptsGet,
        Self::ResourcesList,
        Self::TemplatesList,
        Self::ResourcesRead,
        Self::Complete,
        Self::Subscribe,
        Self::Tasks,
        Self::Discover,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Subscribe => "`subscriptions/listen`, `resources/subscribe`",
            Self::Tasks => "`tasks/get`",
            Self::Discover => "`server/discover`, `initialize`",
            Self::ToolsList => "`tools/list`",
            Self::ToolsCall => "`tools/call`",
            Self::PromptsList => "`prompts/list`",
            Self::PromptsGet => "`prompts/get`",
            Self::ResourcesList => "`resources/list`",
            Self::TemplatesList => "`resources/templates/list`",
            Self::ResourcesRead => "`resources/read`",
            Self::Complete => "`completion/complete`",
        }
    }

    /// The method of the protocol, for a client of this era.
    pub(crate) fn of_era(self, is_modern: bool) -> &'static str {
        match (self, is_modern) {
            (Self::Subscribe, true) => "subscriptions/listen",
            (Self::Subscribe, false) => "resources/subscribe",
            (Self::Discover, true) => "server/discover",
            (Self::Discover, false) => "initialize",
            (Self::Tasks, _) => "tasks/get",
            _ => self.title().trim_matches('`'),
        }
    }

    /// Whether it is answered from what the gateway knows, without a server.
    pub(crate) fn is_list(self) -> bool {
        matches!(
            self,
            Self::ToolsList
                | Self::PromptsList
                | Self::ResourcesList
                | Self::TemplatesList
                | Self::Discover
        )
    }

    /// Parameters with which it names something that only [`crate::scene::ALL`] may see; of a list
    /// what is looked for in it.
    pub(crate) fn named(self) -> (Value, &'static str) {
        const PROMPT: &str = "c__test_prompt_with_arguments";
        match self {
            Self::ToolsList => (json!({}), "c__counters"),
            Self::ToolsCall => (
                json!({ "name": "c__counters", "arguments": {} }),
                "c__counters",
            ),
            Self::PromptsList => (json!({}), PROMPT),
            Self::PromptsGet => {
                let arguments = json!({ "arg1": "a", "arg2": "b" });
                (json!({ "name": PROMPT, "arguments": arguments }), PROMPT)
            }
            Self::ResourcesList => (json!({}), WATCHED),
            Self::TemplatesList => (json!({}), "test://template/{id}/data"),
            Self::ResourcesRead => (json!({ "uri": WATCHED }), WATCHED),
            Self::Complete => {
                let reference = json!({ "type": "ref/prompt", "name": PROMPT });
                let argument = json!({ "name": "arg1", "value": "p" });
                (json!({ "ref": reference, "argument": argument }), PROMPT)
            }
            Self::Discover => (json!({}), "A server for tests"),
            Self::Subscribe | Self::Tasks => (json!({}), ""),
        }
    }
}

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Authentication,
    Access,
    Profile,
    Limit,
    Budget,
    Audit,
}

impl Policy {
    pub(crate) const ALL: [Self; 6] = [
        Self::Authentication,
        Self::Access,
        Self::Profile,
        Self::Limit,
        Self::Budget,
        Self::Audit,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Access => "access",
            Self::Profile => "profile",
            Self::Limit => "limit",
            Self::Budget => "budget",
            Self::Audit => "audit",
        }
    }
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) method: Method,
    pub(crate) policy: Policy,
    pub(crate) is_modern: bool,
}

/// All of them.
pub(crate) fn all() -> Vec<Cell> {
    let mut all = Vec::new();
    for method in Method::ALL {
        for policy in Policy::ALL {
            for is_modern in [true, false] {
                all.push(Cell {
                    method,
                    policy,
                    is_modern,
                });
            }
        }
    }
    all
}

/// Why there is nothing to decide in a cell; none: there is.
pub(crate) fn reason(cell: Cell) -> Option<&'static str> {
    let method = cell.method;
    match cell.policy {
        Policy::Limit | Policy::Budget if method.is_list() => Some(
            "answered from what the gateway knows, so no server is called and nothing is counted",
        ),
        Policy::Limit | Policy::Budget if method == Method::Subscribe => {
            Some("no call is made; open streams and subscriptions are bounded by themselves")
        }
        Policy::Limit if method == Method::Tasks => {
            Some("belongs to the call that began the task, which was counted")
        }
        Policy::Audit if method == Method::Discover && !cell.is_modern => Some(
            "begins a session, which the records of its calls name; a refused credential is in the audit",
        ),
        _ => None,
    }
}
