//! The OpenAPI 3.1 document, made of the routes and the types of their answers.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::answer::Problem;
use super::routes::{ROUTES, Route};

/// The statuses of failure of every request: no valid credential, and a strange host or page.
const PROBLEMS_OF_ALL: [u16; 3] = [401, 403, 405];

/// The document.
pub(super) fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .for_serialize()
        .into_generator();
    let problem = problem_schema(&mut generator);
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let operation = operation(route, &problem, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Switchboard admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What runs behind a gateway, who uses it, and what operators change. \
                            Members are added to answers without another version of the path.",
        },
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of `admin.api_keys`.",
                },
            },
            "schemas": generator.take_definitions(true),
        },
    })
}

fn problem_schema(generator: &mut SchemaGenerator) -> Value {
    <SchemaGenerator>::subschema_for::<Problem<'_>>(generator).to_value()
}

fn operation(route: &Route, problem: &Value, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let mut success = json!({ "description": "Done." });
    if let Some(schema) = route.schema {
        let schema = schema(generator).to_value();
        success["content"] = json!({ "application/json": { "schema": schema } });
    }
    responses.insert(route.status.to_string(), success);
    for status in PROBLEMS_OF_ALL.iter().chain(route.problems) {
        let answer = json!({
            "description": "Why not.",
            "content": { "application/problem+json": { "schema": problem } },
        });
        responses.insert(status.to_string(), answer);
    }
    let variable = route
        .path
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    let in_path = variable.map(|(name, _)| {
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let in_query = route.query.iter().map(|(name, description)| {
        let schema = json!({ "type": if *name == "limit" { "integer" } else { "string" } });
        json!({ "name": name, "in": "query", "description": description, "schema": schema })
    });
    let parameters: Vec<Value> = in_path.into_iter().chain(in_query).collect();
    let mut operation =
        json!({ "summary": route.summary, "parameters": parameters, "responses": responses });
    if let Some(takes) = route.takes {
        let schema = takes(generator).to_value();
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    operation
}

/// The schema of a type as the document has it.
#[cfg(test)]
fn resolved(schema: &Value) -> Value {
    let mut whole = schema.clone();
    whole["components"] = document()["components"].clone();
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sessions::{SessionReport, SessionsView};
    use crate::audit::Record;

    fn is_valid(view: &impl serde::Serialize, path: &str) -> bool {
        let document = document();
        let content = &document["paths"][path]["get"]["responses"]["200"]["content"];
        let schema = resolved(&content["application/json"]["schema"]);
        let schema = jsonschema::validator_for(&schema).expect("a schema");
        schema.is_valid(&serde_json::to_value(view).expect("JSON"))
    }

    #[test]
    fn every_route_is_in_it_once_with_all_of_its_answers() {
        let document = document();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            let success = &operation["responses"][route.status.to_string()];
            assert!(success.is_object(), "{} {}", route.method, route.path);
            let has_body = success["content"].is_object();
            assert_eq!(has_body, route.schema.is_some(), "{}", route.path);
        }
        let operations = document["paths"].as_object().expect("paths").values();
        let count: usize = operations
            .filter_map(|path| Some(path.as_object()?.len()))
            .sum();
        assert_eq!(count, ROUTES.len());
        assert!(document["components"]["schemas"]["BackendView"].is_object());
    }

    /// What runs is decided by the configuration alone.
    #[test]
    fn no_route_takes_a_command_or_its_arguments() {
        let document = document();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                let takes_body = (&**path, &**method) == ("/api/v1/log", "put");
                assert_eq!(operation["requestBody"].is_object(), takes_body, "{path}");
                for parameter in operation["parameters"].as_array().expect("parameters") {
                    let name = parameter["name"].as_str().expect("a name");
                    assert!(
                        !["command", "args", "env", "cwd", "url"].contains(&name),
                        "{path}"
                    );
                }
            }
        }
    }

    #[test]
    fn answers_fit_their_schemas() {
        let session = SessionReport {
            digest: "ab".to_owned(),
            principal: "key:ann".to_owned(),
            client: None,
            protocol: "2025-11-25",
            transport: "streamable_http",
            age_seconds: 1,
        };
        let view = SessionsView {
            sessions: vec![session],
            total: 1,
        };
        assert!(is_valid(&view, "/api/v1/sessions"));
        assert!(!is_valid(&json!({ "sessions": 1 }), "/api/v1/sessions"));
        let record = serde_json::to_value(Record {
            outcome: "ok",
            ..Record::default()
        });
        let view = super::super::views::AuditView {
            records: vec![record.expect("JSON")],
        };
        assert!(is_valid(&view, "/api/v1/audit"));
    }
}
