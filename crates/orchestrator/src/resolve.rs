//! Which backend a call goes to, and under which name.

use std::borrow::Cow;
use std::sync::Arc;

use switchboard_backends::effects::Effects;
use switchboard_protocol::call::Call;
use switchboard_protocol::error::{CallError, ProtocolError, code};
use switchboard_protocol::extension;
use switchboard_protocol::method::Method;
use switchboard_protocol::param_header::ParamHeaders;
use switchboard_protocol::policy::{Target, TargetKind};
use switchboard_telemetry::ToolCalls;

use crate::catalogue::{Entry, Route, Snapshot, Source};

/// Where a call goes.
#[derive(Debug)]
pub(crate) struct Destination<'s> {
    /// The backend's name.
    pub(crate) backend: Arc<str>,
    /// The server's own name or URI of the target.
    pub(crate) target: Cow<'s, str>,
    /// Which arguments are mirrored into headers.
    pub(crate) param_headers: Option<&'s ParamHeaders>,
    /// What a tool says that it does to the world.
    pub(crate) effects: Option<Effects>,
    /// What counts calls of it, if it is a tool.
    pub(crate) calls: Option<&'s Arc<ToolCalls>>,
    kind: TargetKind,
    /// The name of a tool or prompt as the gateway lists it.
    exposed: Option<&'s Arc<str>>,
}

impl Destination<'_> {
    /// What policies decide about.
    pub(crate) fn policy_target(&self) -> Target<'_> {
        Target {
            kind: self.kind,
            backend: &self.backend,
            name: self.exposed.map_or(&*self.target, |name| name),
        }
    }

    /// The tool that it is, if it is one.
    pub(crate) fn tool<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Entry> {
        let exposed = self.exposed.filter(|_| self.kind == TargetKind::Tool)?;
        snapshot.tool(exposed)
    }

    /// The name that the gateway has for the target.
    pub(crate) fn name(&self) -> Arc<str> {
        match self.exposed {
            Some(name) => Arc::clone(name),
            None => Arc::from(&*self.target),
        }
    }
}

/// The answer to where a call goes.
#[derive(Debug)]
pub(crate) enum Resolution<'s> {
    /// There.
    To(Destination<'s>),
    /// Nobody who is known has it, but this backend, not learned yet, may.
    MayBe(&'s Source),
}

/// Who asks, and what of the catalogue there is for them.
struct Asking<'s, 'c> {
    snapshot: &'s Snapshot,
    call: &'c Call,
}

impl Asking<'_, '_> {
    /// Whether there is this for the caller. What there is not is answered like what nobody has.
    fn is_shown(&self, kind: TargetKind, backend: &str, name: &str) -> bool {
        let target = Target {
            kind,
            backend,
            name,
        };
        let profile = self.call.profile.as_deref();
        self.snapshot.shows(&self.call.principal, profile, &target)
    }

    /// The same of what there is: if it is hidden it is reported to the policy that somebody asked for it.
    fn is_shown_or_reported(&self, kind: TargetKind, backend: &str, name: &str) -> bool {
        let is_shown = self.is_shown(kind, backend, name);
        if !is_shown {
            let target = Target {
                kind,
                backend,
                name,
            };
            self.snapshot.policy().hid(self.call, &target);
        }
        is_shown
    }
}

/// Finds where a call goes.
///
/// # Errors
/// −32602 for a target that nobody has, is hidden from the caller, is not named, or could be several
/// backends'.
pub(crate) fn resolve<'s>(
    snapshot: &'s Snapshot,
    call: &Call,
) -> Result<Resolution<'s>, CallError> {
    let asking = Asking { snapshot, call };
    match call.method {
        Method::ToolsCall => {
            let name = named(call, "name")?;
            asking.named_entry(snapshot.tool(&name), &name, TargetKind::Tool)
        }
        Method::PromptsGet => {
            let name = named(call, "name")?;
            asking.named_entry(snapshot.prompt(&name), &name, TargetKind::Prompt)
        }
        Method::ResourcesRead => {
            let uri = named(call, "uri")?;
            asking.routed(snapshot.resource(&uri), &uri)
        }
        Method::Complete => asking.completed(),
        Method::SkillsGet if snapshot.may_have(extension::SKILLS) => {
            let uri = named(call, "uri")?;
            asking.routed(snapshot.skill(&uri), &uri)
        }
        Method::DirectoryRead if snapshot.may_read_directories() => {
            let uri = named(call, "uri")?;
            asking.routed(snapshot.directory(&uri), &uri)
        }
        Method::SkillsGet | Method::DirectoryRead => Err(ProtocolError::method_not_found().into()),
        _ => Err(ProtocolError::new(code::METHOD_NOT_FOUND, "this method names no target").into()),
    }
}

fn named<'c>(call: &'c Call, key: &str) -> Result<Cow<'c, str>, ProtocolError> {
    call.target().ok_or_else(|| {
        ProtocolError::invalid_params(format!("params.{key} is missing or no string"))
    })
}

impl<'s> Asking<'s, '_> {
    fn named_entry(
        &self,
        entry: Option<&'s Entry>,
        name: &str,
        kind: TargetKind,
    ) -> Result<Resolution<'s>, CallError> {
        let entry =
            entry.filter(|entry| self.is_shown_or_reported(kind, &entry.backend, &entry.exposed));
        if let Some(entry) = entry {
            return Ok(Resolution::To(Destination {
                backend: Arc::clone(&entry.backend),
                target: Cow::Borrowed(entry.original()),
                param_headers: (!entry.item.param_headers.is_empty())
                    .then_some(&*entry.item.param_headers),
                effects: (kind == TargetKind::Tool).then_some(entry.item.effects),
                calls: entry.calls.as_ref(),
                kind,
                exposed: Some(&entry.exposed),
            }));
        }
        let may_be = self
            .snapshot
            .may_own(name, |source| self.is_shown(kind, &source.name, name));
        match may_be {
            Some(source) => Ok(Resolution::MayBe(source)),
            None => Err(unknown(kind, name).into()),
        }
    }

    fn routed(&self, route: Route<'_>, uri: &str) -> Result<Resolution<'s>, CallError> {
        let kind = TargetKind::Resource;
        match route {
            Route::One { backend, uri } if self.is_shown_or_reported(kind, &backend, &uri) => {
                let target = Cow::Owned(uri.into_owned());
                Ok(Resolution::To(Destination {
                    backend,
                    target,
                    param_headers: None,
                    effects: None,
                    calls: None,
                    kind,
                    exposed: None,
                }))
            }
            Route::Ambiguous(candidates) => self.one_of(&candidates, uri),
            // What is hidden is looked for further, as what is unknown is.
            Route::One { .. } | Route::Unknown => self.unknown_resource(uri),
        }
    }

    /// A URI that nobody has of whom the caller may know.
    fn unknown_resource(&self, uri: &str) -> Result<Resolution<'s>, CallError> {
        let kind = TargetKind::Resource;
        let may_be = self
            .snapshot
            .may_own_resource(uri, |source| self.is_shown(kind, &source.name, uri));
        match may_be {
            Some(source) => Ok(Resolution::MayBe(source)),
            None => Err(not_found(uri).into()),
        }
    }

    /// One of several resources of this URI: only those that the caller may know of are told.
    fn one_of(&self, candidates: &[String], uri: &str) -> Result<Resolution<'s>, CallError> {
        let is_shown = |candidate: &&String| match self.snapshot.resource(candidate) {
            Route::One { backend, uri } => self.is_shown(TargetKind::Resource, &backend, &uri),
            _ => false,
        };
        let shown: Vec<&String> = candidates.iter().filter(is_shown).collect();
        match &shown[..] {
            [] => self.unknown_resource(uri),
            [one] => self.routed(self.snapshot.resource(one), uri),
            several => Err(ambiguous(uri, several).into()),
        }
    }

    fn completed(&self) -> Result<Resolution<'s>, CallError> {
        let (request, snapshot) = (&self.call.request, self.snapshot);
        let reference = request.reference.unwrap_or_default();
        match request.text(reference.kind).as_deref() {
            Some("ref/prompt") => {
                let name = request.text(reference.name);
                let name = name.ok_or_else(|| {
                    ProtocolError::invalid_params("params.ref.name is missing or no string")
                })?;
                self.named_entry(snapshot.prompt(&name), &name, TargetKind::Prompt)
            }
            Some("ref/resource") => {
                let uri = request.text(reference.uri);
                let uri = uri.ok_or_else(|| {
                    ProtocolError::invalid_params("params.ref.uri is missing or no string")
                })?;
                self.routed(snapshot.template(&uri), &uri)
            }
            _ => Err(ProtocolError::invalid_params(
                "params.ref.type is \"ref/prompt\" or \"ref/resource\"",
            )
            .into()),
        }
    }
}

/// The error of what nobody has, or the caller may not know of.
pub(crate) fn unknown(kind: TargetKind, name: &str) -> ProtocolError {
    let kind = match kind {
        TargetKind::Tool => "tool",
        TargetKind::Prompt => "prompt",
        TargetKind::Resource => "resource",
    };
    ProtocolError::invalid_params(format!("Unknown {kind}: {}", shown(name)))
}

/// Resource not found (specification: `server/resources`, Error Handling).
pub(crate) fn not_found(uri: &str) -> ProtocolError {
    ProtocolError {
        code: code::INVALID_PARAMS,
        message: "Resource not found".into(),
        data: Some(serde_json::json!({ "uri": shown(uri) }).to_string()),
    }
}

fn ambiguous(uri: &str, candidates: &[&String]) -> ProtocolError {
    ProtocolError {
        code: code::INVALID_PARAMS,
        message: "More than one server has a resource of this URI: use one of the candidates"
            .into(),
        data: Some(serde_json::json!({ "uri": shown(uri), "candidates": candidates }).to_string()),
    }
}

/// What a client wrote, cut to a length fit for a message.
fn shown(text: &str) -> &str {
    let mut end = text.len().min(256);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
