//! `switchboard check --as USER --can TOOL`: who may do what, and why.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use switchboard_gateway::config::Config;
use switchboard_gateway::policy::below_access;
use switchboard_orchestrator::catalogue::{Kind, Snapshot};
use switchboard_orchestrator::names::Namespaces;
use switchboard_policy::access::{AccessConfig, Explanation, Said};
use switchboard_protocol::call::Principal;
use switchboard_protocol::policy::{Target, TargetKind};

use super::credential::{Unfit, of_key, of_scopes};
use super::{Format, load_or_report};
use crate::commands::{misused, print};

/// Who wants to use what.
#[derive(Debug, clap::Args)]
pub(crate) struct Question {
    /// Explain whether somebody may use this tool, by the name that clients see.
    #[arg(
        long,
        value_name = "NAME",
        requires = "user",
        conflicts_with = "connect"
    )]
    pub(crate) can: Option<String>,
    /// Who: the name of an API key, or a principal such as `key:ci` or `https://issuer|subject`.
    #[arg(long = "as", id = "user", value_name = "USER", requires = "can")]
    user: Option<String>,
    /// The groups it belongs to, beside those that the configuration gives its API key.
    #[arg(long, value_delimiter = ',', requires = "can")]
    groups: Vec<String>,
    /// The claims of its token, a JSON object.
    #[arg(long, value_name = "JSON", requires = "can")]
    claims: Option<String>,
    /// The scopes of its token. Without them nothing is said of scopes.
    #[arg(long, value_name = "SCOPE", value_delimiter = ',', requires = "can")]
    scopes: Option<Vec<String>>,
    /// The OAuth client that its token names.
    #[arg(long, requires = "can")]
    client: Option<String>,
    /// The profile through which it calls.
    #[arg(long, requires = "can")]
    profile: Option<String>,
    /// What NAME is.
    #[arg(long, value_enum, default_value_t, requires = "can")]
    kind: TargetWord,
    /// The backend that has it, where its name does not say so.
    #[arg(long, value_name = "NAME", requires = "can")]
    backend: Option<String>,
    /// The arguments of the call, a JSON object; without them is said what may be seen.
    #[arg(long, value_name = "JSON", requires = "can")]
    args: Option<String>,
}

/// What a name is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum TargetWord {
    #[default]
    Tool,
    Prompt,
    Resource,
}

impl TargetWord {
    const fn kind(self) -> TargetKind {
        match self {
            Self::Tool => TargetKind::Tool,
            Self::Prompt => TargetKind::Prompt,
            Self::Resource => TargetKind::Resource,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
        }
    }
}

/// Explains whether somebody may use something.
pub(crate) fn can(files: &[PathBuf], name: &str, question: &Question, format: Format) -> ExitCode {
    let loaded = match load_or_report(files, format) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let config = loaded.config;
    let (principal, unfit) = match who(&config, question) {
        Ok(who) => who,
        Err(message) => return misused(&message),
    };
    let backend = match asked(&config, name, question) {
        Ok(backend) => backend,
        Err(message) => return misused(&message),
    };
    let target = Target {
        kind: question.kind.kind(),
        backend: &backend,
        name,
    };
    let gatekeeper = config.gatekeeper();
    let explanation = gatekeeper.access().map(|access| {
        let arguments = question.args.as_deref().map(str::as_bytes);
        access.explain(&principal, question.profile.as_deref(), &target, arguments)
    });
    let is_allowed = unfit.is_none() && explanation.as_ref().is_none_or(Explanation::is_allowed);
    match format {
        Format::Text => print(&match &unfit {
            Some(unfit) => unfit_text(&principal, question, &target, unfit),
            None => text(&principal, question, &target, explanation.as_ref()),
        }),
        Format::Json => {
            let mut report = report(&principal, question, &target, explanation.as_ref());
            if let Some(unfit) = &unfit {
                report["decision"] = json!("denied");
                report["allowed"] = json!(false);
                report["by"] = json!(unfit.by);
                report["refused"] = json!(unfit.why);
                report["rules"] = json!([]);
            }
            print(&format!("{report:#}\n"));
        }
    }
    ExitCode::from(u8::from(!is_allowed))
}

/// Who asks, and why its credential is not good for what it asks, if it is not.
fn who(config: &Config, question: &Question) -> Result<(Principal, Option<Unfit>), String> {
    let claims = question.claims.as_deref().map(|text| {
        serde_json::from_str::<Map<String, Value>>(text)
            .map_err(|_| "--claims is no JSON object; expected one such as {\"team\": \"ops\"}")
    });
    let user = question.user.as_deref().unwrap_or_default();
    let profile = question.profile.as_deref();
    let keys = config.auth.iter().flat_map(|auth| &auth.api_keys);
    let bare = user.strip_prefix("key:").unwrap_or(user);
    let key = keys.into_iter().find(|key| key.name == bare);
    let (mut principal, unfit) = match key {
        Some(key) => {
            let principal = Principal {
                groups: key.groups.clone(),
                profiles: key.profiles.clone(),
                ..Principal::new(format!("key:{}", key.name))
            };
            (principal, of_key(key, profile))
        }
        None => {
            let scopes = question.scopes.as_deref();
            let told = config.auth.as_ref().zip(scopes);
            let unfit = told.and_then(|(auth, scopes)| of_scopes(auth, scopes, profile));
            (Principal::new(user), unfit)
        }
    };
    principal.groups.extend(question.groups.iter().cloned());
    principal.client.clone_from(&question.client);
    principal.claims = claims.transpose()?.map(Arc::new);
    Ok((principal, unfit))
}

/// The backend that is asked for.
fn asked(config: &Config, name: &str, question: &Question) -> Result<String, String> {
    if let Some(text) = &question.args
        && serde_json::from_str::<Map<String, Value>>(text).is_err()
    {
        return Err("--args is no JSON object; expected one such as {\"path\": \"/srv\"}".into());
    }
    match &question.backend {
        Some(backend) if config.backends.contains_key(backend) => Ok(backend.clone()),
        Some(backend) => Err(format!("there is no backend `{backend}`")),
        None => backend_of(config, name, question.kind),
    }
}

/// The backend whose names begin like this one.
fn backend_of(config: &Config, name: &str, kind: TargetWord) -> Result<String, String> {
    let backends = config.backends.iter();
    let prefixes = backends.map(|(name, backend)| (&**name, backend.prefix.as_deref()));
    let namespaces = Namespaces::new(&config.names, prefixes);
    let claimant = match kind {
        TargetWord::Tool | TargetWord::Prompt => namespaces.claimant(name, |_| true),
        // A URI says nothing of who has it.
        TargetWord::Resource => None,
    };
    let only = (config.backends.len() == 1).then_some(0);
    let backend = claimant
        .or(only)
        .and_then(|at| config.backends.keys().nth(at));
    backend.cloned().ok_or_else(|| {
        format!(
            "which backend has the {} `{name}` cannot be told from its name; say it with --backend NAME",
            kind.as_str()
        )
    })
}

fn verdict(explanation: Option<&Explanation>) -> &'static str {
    match explanation.map(|explanation| explanation.said) {
        None | Some(Said::Allowed) => "allowed",
        Some(Said::Denied) => "denied",
        Some(Said::DependsOnArguments) => "depends_on_arguments",
    }
}

/// What is said of a credential that is good for nothing here.
fn unfit_text(
    principal: &Principal,
    question: &Question,
    target: &Target<'_>,
    unfit: &Unfit,
) -> String {
    format!(
        "denied: `{}` may not use the {} `{}` of the backend `{}`; `{}` decides: {}.\n",
        principal.id,
        question.kind.as_str(),
        target.name,
        target.backend,
        unfit.by,
        unfit.why,
    )
}

fn text(
    principal: &Principal,
    question: &Question,
    target: &Target<'_>,
    explanation: Option<&Explanation>,
) -> String {
    let mut out = String::new();
    let what = format!(
        "the {} `{}` of the backend `{}`",
        question.kind.as_str(),
        target.name,
        target.backend
    );
    let who = match &*principal.groups {
        [] => format!("`{}`", principal.id),
        groups => format!("`{}` ({})", principal.id, groups.join(", ")),
    };
    let Some(explanation) = explanation else {
        return format!("allowed: {who} may use {what}, since there is no section `access`.\n");
    };
    let by = match &*explanation.by {
        "default" => "no rule fits, so that `default` decides".to_owned(),
        rule => format!("the rule `{rule}` decides"),
    };
    let _ = match (explanation.said, &explanation.refused) {
        (_, Some(message)) => writeln!(out, "denied: {message}"),
        (Said::Allowed, _) => writeln!(out, "allowed: {who} may use {what}; {by}."),
        (Said::Denied, _) => writeln!(out, "denied: {who} may not use {what}; {by}."),
        (Said::DependsOnArguments, _) => writeln!(
            out,
            "depends: {who} sees {what}, and its arguments decide; give some with --args."
        ),
    };
    if explanation.is_shadow {
        out.push_str("Nothing is denied all the same: `access.mode` is `shadow`.\n");
    }
    if let Some(rule) = &explanation.would_deny {
        let _ = writeln!(
            out,
            "The rule `{rule}`, which is in shadow mode, would deny it."
        );
    }
    for rule in &explanation.rules {
        let fits = match rule.fits {
            Some(true) => "fits",
            Some(false) => "does not fit",
            None => "may fit",
        };
        let effect = rule.effect.as_str();
        let _ = writeln!(out, "  {} ({effect}) {fits}: {}", rule.name, rule.why);
    }
    out
}

fn report(
    principal: &Principal,
    question: &Question,
    target: &Target<'_>,
    explanation: Option<&Explanation>,
) -> Value {
    let rules = explanation
        .iter()
        .flat_map(|explanation| &explanation.rules);
    let rules = rules.map(|rule| {
        json!({
            "name": &*rule.name, "effect": rule.effect.as_str(), "fits": rule.fits, "why": rule.why,
        })
    });
    json!({
        "decision": verdict(explanation),
        "allowed": explanation.is_none_or(Explanation::is_allowed),
        "by": explanation.map(|explanation| &*explanation.by),
        "shadow": explanation.is_some_and(|explanation| explanation.is_shadow),
        "wouldDeny": explanation.and_then(|explanation| explanation.would_deny.as_deref()),
        "refused": explanation.and_then(|explanation| explanation.refused.as_deref()),
        "principal": { "id": principal.id, "groups": principal.groups },
        "target": {
            "kind": question.kind.as_str(), "backend": target.backend, "name": target.name,
        },
        "profile": question.profile,
        "rules": rules.collect::<Vec<_>>(),
    })
}

/// Patterns of rules that fit nothing there is, by key.
pub(super) fn unmatched(
    rules: Option<&AccessConfig>,
    snapshot: &Snapshot,
) -> Vec<(Vec<String>, String)> {
    let patterns = rules.into_iter().flat_map(AccessConfig::patterns);
    let unmatched = patterns.filter_map(|pattern| {
        let (kind, word) = match pattern.kind? {
            TargetKind::Tool => (Kind::Tool, "tool"),
            TargetKind::Prompt => (Kind::Prompt, "prompt"),
            // Those of templates cannot be listed.
            TargetKind::Resource => return None,
        };
        let mut entries = snapshot.entries(kind).iter();
        if entries.any(|entry| pattern.fits(&entry.exposed)) {
            return None;
        }
        let message = format!("`{}` fits no {word} that there is", pattern.text);
        Some((below_access(pattern.path), message))
    });
    unmatched.collect()
}
