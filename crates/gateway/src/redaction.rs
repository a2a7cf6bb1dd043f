//! What is taken out of what comes back, made of the configuration: its secrets, types of tokens, patterns.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use switchboard_backends::config::discovery::DiscoverySource;
use switchboard_backends::config::oauth::{ClientProof, KeySource};
use switchboard_backends::config::{BackendConfig, RedactionSwitch, TransportConfig};
use switchboard_orchestrator::config::{ConfigProblem, path};
use switchboard_policy::redaction::config::TokenTypes;
use switchboard_policy::redaction::names::{is_plain_word, says_secret};
use switchboard_policy::redaction::{
    Detector, LEAST_SECRET_BYTES, PlaceRedactor, RedactionObserver, Redactors, Secrets,
};
use switchboard_protocol::delivery::Redactor as _;
use switchboard_telemetry::{Metrics, OutletRedactors, Redactor, redact_with};
use url::Url;

use crate::config::Config;

/// The secrets of a configuration, and the keys of those that are not looked for.
#[derive(Default)]
struct Found {
    secrets: Secrets,
    left_out: Vec<ConfigProblem>,
}

impl Config {
    /// What takes secrets out of what backends say; `None`: there is nothing to look for.
    pub(crate) fn redactors(&self, metrics: &Arc<Metrics>) -> Option<Arc<Redactors>> {
        let detector = self.detector()?;
        let backends = self.backends.iter();
        let backends =
            backends.map(|(name, backend)| (&**name, backend.redaction == RedactionSwitch::On));
        Some(Arc::new(Redactors::new(
            &detector,
            backends,
            &observer(metrics),
        )))
    }

    /// Has the same taken out of logs, traces, the audit and what operators are told, for the whole process.
    pub fn redact_outlets(&self, metrics: &Arc<Metrics>) {
        let Some(detector) = self.detector() else {
            return redact_with(None);
        };
        let redactor = |place: &str, observer| -> Arc<dyn Redactor> {
            let redactor = PlaceRedactor::new(Arc::clone(&detector), place.into(), observer);
            Arc::new(OutletRedactor(redactor))
        };
        redact_with(Some(OutletRedactors {
            logs: redactor("logs", Some(observer(metrics))),
            traces: redactor("traces", Some(observer(metrics))),
            audit: redactor("audit", Some(observer(metrics))),
            // It was counted when it was logged; how often somebody looks at it says nothing.
            operators: redactor("operators", None),
        }));
    }

    /// What the section `redaction` says to no effect.
    pub fn idle_exceptions(&self) -> Option<ConfigProblem> {
        let redaction = self.redaction.as_ref()?;
        let idle = redaction.idle_exceptions();
        if idle.is_empty() {
            return None;
        }
        let message = match &redaction.tokens {
            TokenTypes::None => "has no effect beside `tokens: false`, with which no tokens are looked for; expected \
                                 `tokens: true` to look for all others, or no `except`"
                .to_owned(),
            _ => format!(
                "has no effect for `{}`, which the list of `tokens` does not have; expected types that it has",
                idle.join("`, `")
            ),
        };
        Some(ConfigProblem {
            path: path(&["redaction", "except"]),
            other: Some(path(&["redaction", "tokens"])),
            message,
        })
    }

    /// The secrets of the configuration that are not looked for, by key: too short, plain words, or empty
    /// where they are named to be looked for.
    pub fn secrets_left_out(&self) -> Vec<ConfigProblem> {
        self.secrets().left_out
    }

    fn detector(&self) -> Option<Arc<Detector>> {
        let mut secrets = self.secrets().secrets;
        let (mut types, mut patterns) = (BTreeSet::new(), &[][..]);
        if let Some(redaction) = &self.redaction {
            redaction.add_secrets(&mut secrets);
            types = redaction.types();
            patterns = &redaction.patterns;
        }
        // Patterns were compiled when they were read.
        let detector = Detector::new(&secrets, &types, patterns)
            .or_else(|_| Detector::new(&secrets, &types, &[]));
        let detector = detector.ok().filter(|detector| !detector.is_empty());
        detector.map(Arc::new)
    }

    fn secrets(&self) -> Found {
        let mut found = Found::default();
        for (index, key) in self.server.sealing_keys.expose().into_iter().enumerate() {
            found.add(
                &["server", "sealing_keys", &format!("[{index}]")],
                &String::from_utf8_lossy(key),
            );
        }
        if let Some(cluster) = &self.server.cluster {
            for secret in cluster.secret.expose() {
                let secret = String::from_utf8_lossy(secret);
                found.add(&["server", "cluster", "secret"], &secret);
            }
        }
        if let Some(facade) = self.auth.as_ref().and_then(|auth| auth.facade.as_ref()) {
            found.add(
                &["auth", "facade", "client_secret"],
                facade.client_secret.expose(),
            );
        }
        if let Some(redis) = &self.store.redis
            && let Ok(url) = Url::parse(redis.expose())
        {
            found.add_of_url(&["store", "redis"], &url);
        }
        if let Some(url) = &self.telemetry.traces.endpoint {
            found.add_of_url(&["telemetry", "traces", "endpoint"], url);
        }
        if let Some(url) = &self.heartbeat.url {
            found.add_of_url(&["heartbeat", "url"], url);
        }
        for (name, backend) in &self.backends {
            found.add_of_backend(name, backend);
        }
        if let Some(redaction) = &self.redaction {
            for (index, value) in redaction.secrets.iter().enumerate() {
                let index = format!("[{index}]");
                let path = ["redaction", "secrets", &index];
                // Elsewhere what is empty is not there; here somebody counts on it.
                if value.trim().is_empty() {
                    found.leave_out(&path, IS_EMPTY.to_owned());
                }
                found.add(&path, value);
            }
        }
        found
    }
}

/// Of a secret in a setting, or the setting itself.
const IS_PLAIN_WORD: &str = "a secret in it is a plain word, so it is not looked for in what comes back; name it in \
                             `redaction.secrets` if it is to be";

/// Of an entry of `redaction.secrets`.
const IS_EMPTY: &str =
    "is empty, so nothing is looked for in what comes back; expected a value, or no such entry";

impl Found {
    /// Adds what is a secret by its type.
    fn add(&mut self, path: &[&str], value: &str) {
        if !self.secrets.add(value) && !value.trim().is_empty() {
            let message = format!(
                "a secret in it is shorter than {LEAST_SECRET_BYTES} bytes, so it is not looked for in what comes back"
            );
            self.leave_out(path, message);
        }
    }

    /// Adds what is one if its name is right.
    fn add_named(&mut self, path: &[&str], name: &str, value: &str) {
        if !says_secret(name) || value.trim().is_empty() {
            return;
        }
        if is_plain_word(value) {
            self.leave_out(path, IS_PLAIN_WORD.to_owned());
            return;
        }
        let credentials = value
            .split_once(' ')
            .filter(|(scheme, _)| is_scheme(scheme));
        self.add(
            path,
            credentials.map_or(value, |(_, credentials)| credentials.trim()),
        );
        if credentials.is_some() {
            self.secrets.add(value);
        }
    }

    fn leave_out(&mut self, path: &[&str], message: String) {
        self.left_out.push(ConfigProblem {
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            other: None,
            message,
        });
    }

    /// Adds the password of an address, and what of its query is a secret by its name.
    fn add_of_url(&mut self, path: &[&str], url: &Url) {
        if let Some(password) = url.password() {
            let decoded = percent_decode_str(password).decode_utf8_lossy();
            if is_plain_word(&decoded) {
                self.leave_out(path, IS_PLAIN_WORD.to_owned());
            } else {
                self.add(path, &decoded);
                self.secrets.add(password);
            }
        }
        for (name, value) in url.query_pairs() {
            self.add_named(path, &name, &value);
        }
    }

    fn add_of_text_url(&mut self, path: &[&str], text: &str) {
        if text.contains("://")
            && let Ok(url) = Url::parse(text)
        {
            self.add_of_url(path, &url);
        }
    }

    fn add_of_backend(&mut self, name: &str, backend: &BackendConfig) {
        let path = |keys: &[&'static str]| [&["backends", name][..], keys].concat();
        match &backend.transport {
            TransportConfig::Stdio { args, env, .. } => {
                for (variable, value) in env {
                    let path = [&path(&["env"])[..], &[variable]].concat();
                    self.add_named(&path, variable, value.expose_secret());
                    self.add_of_text_url(&path, value.expose_secret());
                }
                self.add_of_args(&path(&["args"]), args);
            }
            TransportConfig::Http { url, headers, .. } => {
                self.add_of_url(&path(&["url"]), url);
                for (header, value) in headers {
                    let path = [&path(&["headers"])[..], &[header.as_str()]].concat();
                    self.add_named(
                        &path,
                        header.as_str(),
                        &String::from_utf8_lossy(value.as_bytes()),
                    );
                }
            }
        }
        for endpoint in &backend.endpoints {
            self.add_of_url(&path(&["endpoints"]), &endpoint.url);
        }
        match backend.oauth.as_ref().map(|oauth| &oauth.proof) {
            Some(ClientProof::Secret { secret, .. }) => {
                self.add(&path(&["oauth", "client_secret"]), secret.expose_secret());
            }
            Some(ClientProof::PrivateKey(key)) => {
                if let KeySource::Pem(pem) = &key.source {
                    self.add(&path(&["oauth", "private_key", "pem"]), pem.expose_secret());
                }
            }
            None => {}
        }
        let source = backend
            .discovery
            .as_ref()
            .map(|discovery| &discovery.source);
        if let Some(DiscoverySource::Consul(consul)) = source {
            self.add_of_url(&path(&["discovery", "consul", "url"]), &consul.url);
            if let Some(token) = &consul.token {
                let token = String::from_utf8_lossy(token.as_bytes());
                self.add(&path(&["discovery", "consul", "token"]), &token);
            }
        }
    }

    /// Adds secrets of a command line: `--api-key=X`, `--api-key X`, `--header "Authorization: Bearer X"`.
    fn add_of_args(&mut self, path: &[&str], args: &[String]) {
        let mut option = None;
        for arg in args {
            let bare = arg.strip_prefix("--");
            match (bare.and_then(|bare| bare.split_once('=')), option.take()) {
                (Some((name, value)), _) => self.add_named(path, name, value),
                (None, Some(name)) if bare.is_none() => self.add_named(path, name, arg),
                (None, _) => option = bare,
            }
            if let Some((name, value)) = arg.split_once(':')
                && !value.starts_with("//")
            {
                self.add_named(path, name, value.trim());
            }
            self.add_of_text_url(path, arg);
        }
    }
}

/// Whether it is the first word of a header `Authorization`.
fn is_scheme(word: &str) -> bool {
    let schemes = [
        "bearer", "basic", "token", "apikey", "key", "digest", "ssws",
    ];
    schemes
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme))
}

fn observer(metrics: &Arc<Metrics>) -> Arc<dyn RedactionObserver> {
    Arc::new(Counter(Arc::clone(metrics)))
}

/// Counts in the metrics of the process.
#[derive(Debug)]
struct Counter(Arc<Metrics>);

impl RedactionObserver for Counter {
    fn redacted(&self, kind: &str, place: &str) {
        self.0.redacted(kind, place);
    }
}

/// Stands for a redactor where something leaves the process beside answers.
#[derive(Debug)]
struct OutletRedactor(PlaceRedactor);

impl Redactor for OutletRedactor {
    fn redact<'t>(&self, text: &'t str, is_json: bool) -> Cow<'t, str> {
        match is_json {
            true => self.0.redact_json(text),
            false => self.0.redact_text(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: serde_json::Value) -> Config {
        serde_json::from_value(json).expect("a configuration")
    }

    fn redacts(config: &Config, text: &str) -> bool {
        let detector = config.detector().expect("something to look for");
        let redactor = PlaceRedactor::new(detector, "test".into(), None);
        !redactor.redact_text(text).contains(text)
    }

    #[test]
    fn the_secrets_of_a_configuration_are_looked_for() {
        let config = config(serde_json::json!({
            "server": { "sealing_keys": ["kX9vQ2mT7pL4wR8zB1cN6yH3jF5dS0gA"] },
            "store": { "redis": "redis://me:red%20is-pass@127.0.0.1" },
            "telemetry": { "traces": { "endpoint": "https://me:trace-pass-9@collector.example.com" } },
            "heartbeat": { "url": "https://me:beat-pass-10@alive.example.com/ping" },
            "backends": {
                "local": {
                    "command": "server",
                    "args": ["--api-key", "args-key-1", "--token=args-token-2", "--header", "Authorization: Bearer args-bearer-3", "plain-arg-value"],
                    "env": { "API_TOKEN": "env-token-4", "DATABASE_URL": "postgres://u:db-pass-5@h/d", "LOG_LEVEL": "debug-level", "SHORT_KEY": "abc", "DB_PASSWORD": "postgres" },
                },
                "found": {
                    "url": "http://service.example.com/mcp",
                    "discovery": { "consul": { "url": "http://me:consul-pass-11@127.0.0.1:8500", "service": "s", "token": "consul-token-12" } },
                },
                "remote": {
                    "url": "https://mcp.example.com/mcp?api_key=query-key-6",
                    "headers": { "Authorization": "Bearer header-token-7", "X-Team": "platform-team" },
                },
            },
            "redaction": { "tokens": false, "secrets": ["more-secret-8", "short", "", " "] },
        }));
        for secret in [
            "kX9vQ2mT7pL4wR8zB1cN6yH3jF5dS0gA",
            "red is-pass",
            "args-key-1",
            "args-token-2",
            "args-bearer-3",
            "env-token-4",
            "db-pass-5",
            "query-key-6",
            "header-token-7",
            "more-secret-8",
            "trace-pass-9",
            "beat-pass-10",
            "consul-pass-11",
            "consul-token-12",
        ] {
            assert!(redacts(&config, secret), "{secret}");
        }
        for word in [
            "plain-arg-value",
            "debug-level",
            "platform-team",
            "postgres",
            "server",
        ] {
            assert!(!redacts(&config, word), "{word}");
        }
        let left_out = config.secrets_left_out();
        let said = left_out.iter().map(ToString::to_string);
        let keys: Vec<_> = said
            .map(|said| said.split(": ").next().map(str::to_owned))
            .collect();
        let expected = [
            "backends.local.env.DB_PASSWORD",
            "backends.local.env.SHORT_KEY",
            "redaction.secrets[1]",
            "redaction.secrets[2]",
            "redaction.secrets[3]",
        ];
        assert_eq!(keys, expected.map(|key| Some(key.to_owned())));
    }

    #[test]
    fn without_secrets_nothing_is_looked_for() {
        let config = config(serde_json::json!({ "backends": { "a": { "command": "server" } } }));
        assert!(config.detector().is_none());
    }
}
