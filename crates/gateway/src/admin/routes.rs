//! What can be asked, and where: requests are read by this table, and the OpenAPI document is made of
//! it.

use axum::response::Response;
use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::answer::problem;
use super::config::ConfigView;
use super::log::{LogRequest, LogView};
use super::reload::ReloadView;
use super::report::{BackendView, BackendsView};
use super::sessions::SessionsView;
use super::views::{AuditView, CatalogueView, LimitsView, PrincipalsView};
use crate::audit::query::{Filter, parse_outcome, parse_time};

/// The most records that one search answers with.
const MAX_RECORDS: usize = 1000;
/// The most records that one search looks at.
const MOST_LOOKED_AT: usize = 100_000;
/// The longest query, in bytes.
const MAX_QUERY: usize = 4096;

/// Something that can be asked.
pub(super) struct Route {
    pub(super) method: &'static str,
    /// With the names of its variable parts in braces.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// The parameters of the query, and what each means.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// The status of success.
    pub(super) status: u16,
    /// The body that it takes; `None`: none.
    pub(super) takes: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// The body of success; `None`: there is none.
    pub(super) schema: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// The statuses of failure, beside those of every request.
    pub(super) problems: &'static [u16],
    /// What is asked, of the variable part and the query.
    asked: fn(String, &Uri) -> Result<Asked, Box<Response>>,
}

/// What somebody wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    OpenApi,
    Backends,
    Backend(String),
    Restart(String),
    Catalogue,
    Config,
    Reload,
    Sessions,
    EndSession(String),
    Principals,
    Limits,
    Audit(Box<Filter>),
    Log,
    SetLog,
}

/// All of them.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/api/v1/openapi.json",
        summary: "This document",
        query: &[],
        status: 200,
        takes: None,
        schema: Some(|_| json_schema!({ "type": "object" })),
        problems: &[],
        asked: |_, _| Ok(Asked::OpenApi),
    },
    Route {
        method: "GET",
        path: "/api/v1/backends",
        summary: "All backends, and how they are doing",
        query: &[],
        status: 200,
        takes: None,
        schema: Some(SchemaGenerator::subschema_for::<BackendsView>),
        problems: &[],
        asked: |_, _| Ok(Asked::Backends),
    },
    Route {
        method: "GET",
        path: "/api/v1/backends/{name}",
        summary: "One backend",
        query: &[],
        status: 200,
        takes: None,
        schema: Some(SchemaGenerator::subschema_for::<BackendView>),
        problems: &[404],
        asked: |name, _| Ok(Asked::Backend(name)),
    },
    Route {
        method: "POST",
        path: "/api/v1/backends/{name}/restart",
        summary: "Begins a backend anew, and answers with how it is doing",
        query: &[],
        status: 202,
        takes: None,
        schema: Some(SchemaGenerator::subschema_for::<BackendView>),
        problems: &[404],
        asked: |name, _| Ok(Asked::Restart(name)),
    },
    Route {
        method: "GET",
        path: "/api/v1/catalogue",
        summary: "The tools and prompts that clients see, whose they are, and names that collide",
        query: &[],
        status: 200,
        takes: None,
        schema: Some(SchemaGenerator::subschema_for::<CatalogueView>),
        problems: &[],
        asked: |_, _| Ok(Asked::Catalogue),
    },
    Route {
        method: "GET",
        path: "/api/v1/config",
        summary: "What of the configuration is in force, without secrets",
        query: &[],
        status: 200,
        takes: None,
        schema: Some(SchemaGenerator::subschema_for::<ConfigView>),
        problems: &[],
        asked: |_, _| Ok(Asked::Config),
    },
    Route {
        method: "POST",
        path: "/api/v1/reload",
        summary: "Reads the configuration again, as SIGHUP does, and answers with what has changed",
        query: &[],
        status: 200,
        takes: None,
        schema: Some(SchemaGenerator::subschema_for::<ReloadView>),
        problems: &[422, 503],
        asked: |_, _| Ok(Asked::Reload),
    },
    Route {
        method: "GET",
        path: "/api/v1/sessions",
        summary: "The sessions of clients that speak 2025-11-25 or older, the oldest first",
        query: &[],
        status: 200,
        takes: None,
        schema: Some(SchemaGenerator::subschema_for::<SessionsView>),
        problems: &[],
        asked: |_, _| Ok(Asked::Sessions),
    },
    Route {
        method: "DELETE",
        path: "/api/v1/sessions/{digest}",
        summary: "Ends a session",
        query: &[],
        status: 204,
        takes: None,
        schema: None,
        problems: &[404],
        asked: |digest, _| Ok(Asked::EndSession(digest)),
    },
    Route {
        method: "GET",
        path: "/api/v1/principals",
        summary: "The principals that the configuration names",
        query: &[],
        status: 200,
        takes: None,
        schema: Some(SchemaGenerator::subschema_for::<PrincipalsView>),
        problems: &[],
        asked: |_, _| Ok(Asked::Principals),
    },
    Route {
        method: "GET",
        path: "/api/v1/limits",
        summary: "Limits and budgets, and what is left of them",
        query: &[],
        status: 200,
        takes: None,
        schema: Some(SchemaGenerator::subschema_for::<LimitsView>),
        problems: &[],
        asked: |_, _| Ok(Asked::Limits),
    },
    Route {
        method: "GET",
        path: "/api/v1/audit",
        summary: "Records of the audit, the newest that fit, the oldest of them first",
        query: &[
            ("principal", "Only those of this principal"),
            (
                "tool",
                "Only those of this tool, prompt or URI; `*` stands for any characters",
            ),
            ("backend", "Only calls in which this backend was called"),
            (
                "outcome",
                "Only those that ended so: ok, tool_error, input_required, invalid, backend_error, \
                 refused, failed or cancelled",
            ),
            (
                "since",
                "Not before this time, such as 2026-11-29T12:00:00Z",
            ),
            ("until", "Not after this time"),
            ("limit", "The most records, from 1 to 1000; 100 by default"),
        ],
        status: 200,
        takes: None,
        schema: Some(SchemaGenerator::subschema_for::<AuditView>),
        problems: &[400, 404, 500, 503],
        asked: |_, uri| filter(uri).map(|filter| Asked::Audit(Box::new(filter))),
    },
    Route {
        method: "GET",
        path: "/api/v1/log",
        summary: "What is logged",
        query: &[],
        status: 200,
        takes: None,
        schema: Some(SchemaGenerator::subschema_for::<LogView<'_>>),
        problems: &[],
        asked: |_, _| Ok(Asked::Log),
    },
    Route {
        method: "PUT",
        path: "/api/v1/log",
        summary: "Changes what is logged, until it is changed again or the configuration says something else",
        query: &[],
        status: 200,
        takes: Some(SchemaGenerator::subschema_for::<LogRequest>),
        schema: Some(SchemaGenerator::subschema_for::<LogView<'_>>),
        problems: &[400, 413, 503],
        asked: |_, _| Ok(Asked::SetLog),
    },
];

impl Asked {
    /// What a request asks.
    ///
    /// # Errors
    /// The answer to one that asks nothing that there is.
    pub(super) fn of(method: &Method, uri: &Uri) -> Result<Self, Box<Response>> {
        let here = ROUTES.iter().filter_map(|route| {
            let part = variable_part(route.path, uri.path())?;
            Some((route, part))
        });
        let here: Vec<_> = here.collect();
        let Some((_, part)) = here.first() else {
            return Err(nothing());
        };
        let part = percent_decode_str(part)
            .decode_utf8()
            .map_err(|_| nothing())?;
        let wanted = match *method {
            Method::HEAD => "GET",
            ref other => other.as_str(),
        };
        match here.iter().find(|(route, _)| route.method == wanted) {
            Some((route, _)) => (route.asked)(part.into_owned(), uri),
            None => Err(not_allowed(here.iter().map(|(route, _)| route.method))),
        }
    }

    /// The method of a request that changes something, for the audit.
    pub(super) fn changes(&self) -> Option<&'static str> {
        match self {
            Self::Restart(_) | Self::Reload => Some("POST"),
            Self::EndSession(_) => Some("DELETE"),
            Self::SetLog => Some("PUT"),
            _ => None,
        }
    }
}

/// The text in the place of the variable part, if the path fits; empty if there is no such part.
fn variable_part<'p>(route: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, rest)) = route.split_once('{') else {
        return (route == path).then_some("");
    };
    let (_, after) = rest.split_once('}')?;
    let part = path.strip_prefix(before)?.strip_suffix(after)?;
    (!part.is_empty() && !part.contains('/')).then_some(part)
}

fn nothing() -> Box<Response> {
    problem(StatusCode::NOT_FOUND, "there is nothing at this path")
}

fn not_allowed(methods: impl Iterator<Item = &'static str>) -> Box<Response> {
    let allowed: Vec<&str> = methods
        .map(|method| if method == "GET" { "GET, HEAD" } else { method })
        .collect();
    let allowed = allowed.join(", ");
    let mut response = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("use {allowed} here"),
    );
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

fn filter(uri: &Uri) -> Result<Filter, Box<Response>> {
    let wrong = |detail: String| problem(StatusCode::BAD_REQUEST, &detail);
    let query = uri.query().unwrap_or_default();
    if query.len() > MAX_QUERY {
        return Err(wrong(format!("the query is longer than {MAX_QUERY} bytes")));
    }
    let mut filter = Filter {
        most_looked_at: MOST_LOOKED_AT,
        ..Filter::default()
    };
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let time = || {
            parse_time(&value)
                .ok_or_else(|| wrong(format!("`{key}` is no time such as 2026-11-29T12:00:00Z")))
        };
        match &*key {
            "principal" => filter.principal = Some(value.into_owned()),
            "tool" => filter.tool = Some(value.into_owned()),
            "backend" => filter.backend = Some(value.into_owned()),
            "outcome" => {
                let outcome = parse_outcome(&value);
                let outcome = outcome.map_err(|message| {
                    wrong(format!("`outcome` is none that there is; {message}"))
                })?;
                filter.outcome = Some(outcome);
            }
            "since" => filter.since = Some(time()?),
            "until" => filter.until = Some(time()?),
            "limit" => {
                let limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MAX_RECORDS).contains(limit));
                filter.limit = limit.ok_or_else(|| {
                    wrong(format!("`limit` is a whole number from 1 to {MAX_RECORDS}"))
                })?;
            }
            other => {
                let names = "principal, tool, backend, outcome, since, until, limit";
                let other: String = other.chars().take(64).collect();
                return Err(wrong(format!(
                    "`{other}` is unknown here; there are {names}"
                )));
            }
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, path: &str) -> Result<Asked, u16> {
        let uri = path.parse().expect("a URI");
        Asked::of(method, &uri).map_err(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn paths_and_methods_lead_to_what_is_asked() {
        let (get, post) = (&Method::GET, &Method::POST);
        assert_eq!(asked(get, "/api/v1/backends"), Ok(Asked::Backends));
        assert_eq!(
            asked(&Method::HEAD, "/api/v1/backends"),
            Ok(Asked::Backends)
        );
        let one = |name: &str| Ok(Asked::Backend(name.to_owned()));
        assert_eq!(asked(get, "/api/v1/backends/a"), one("a"));
        assert_eq!(asked(get, "/api/v1/backends/a%2Fb%20c"), one("a/b c"));
        let restart = Ok(Asked::Restart("a".to_owned()));
        assert_eq!(asked(post, "/api/v1/backends/a/restart"), restart);
        let end = Ok(Asked::EndSession("ab".to_owned()));
        assert_eq!(asked(&Method::DELETE, "/api/v1/sessions/ab"), end);
        assert_eq!(asked(post, "/api/v1/reload"), Ok(Asked::Reload));
        assert_eq!(asked(get, "/api/v1/log"), Ok(Asked::Log));
        assert_eq!(asked(&Method::PUT, "/api/v1/log"), Ok(Asked::SetLog));
        assert_eq!(Asked::SetLog.changes(), Some("PUT"));
        assert_eq!(asked(get, "/api/v1/audit?outcome=bogus"), Err(400));
        let refused = Filter {
            outcome: Some("refused".to_owned()),
            most_looked_at: MOST_LOOKED_AT,
            ..Filter::default()
        };
        assert_eq!(
            asked(get, "/api/v1/audit?outcome=refused"),
            Ok(Asked::Audit(Box::new(refused)))
        );
        assert_eq!(asked(post, "/api/v1/backends"), Err(405));
        assert_eq!(asked(get, "/api/v1/backends/a/restart"), Err(405));
        assert_eq!(asked(get, "/api/v1/reload"), Err(405));
        for path in [
            "/",
            "/mcp",
            "/api",
            "/api/v1/backendsx",
            "/api/v1/backends/",
            "/api/v1/backends//restart",
            "/api/v1/backends/a/restart/",
            "/api/v1/backends/%ff",
            "/api/v1/sessions/",
        ] {
            assert_eq!(asked(get, path), Err(404), "{path}");
        }
    }

    #[test]
    fn searches_are_bounded_and_what_is_mistyped_is_told() {
        let get = |query: &str| asked(&Method::GET, &format!("/api/v1/audit?{query}"));
        let Ok(Asked::Audit(filter)) = get("principal=key%3Aann&tool=a__*&limit=5") else {
            panic!("no search");
        };
        assert_eq!(filter.principal.as_deref(), Some("key:ann"));
        assert_eq!(filter.tool.as_deref(), Some("a__*"));
        assert_eq!((filter.limit, filter.most_looked_at), (5, MOST_LOOKED_AT));
        for wrong in ["limit=0", "limit=1001", "limit=x", "since=1h", "user=a"] {
            assert_eq!(get(wrong), Err(400), "{wrong}");
        }
        assert_eq!(get(&"a".repeat(MAX_QUERY + 1)), Err(400));
    }
}
