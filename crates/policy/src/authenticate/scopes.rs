//! What tokens have to be good for.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Scope, ScopesConfig};

/// The scopes that endpoints need, and which stand for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scopes {
    config: ScopesConfig,
    implies: BTreeMap<String, Vec<String>>,
}

impl Scopes {
    pub(super) fn new(config: &ScopesConfig) -> Self {
        let names = |scopes: &Vec<Scope>| -> Vec<String> {
            let names = scopes.iter().map(|scope| scope.as_str().to_owned());
            names.collect()
        };
        let implies = config.implies.iter();
        Self {
            config: config.clone(),
            implies: implies
                .map(|(broad, narrow)| (broad.as_str().to_owned(), names(narrow)))
                .collect(),
        }
    }

    /// What a token needs at an endpoint, each once.
    pub(super) fn needed(&self, profile: Option<&str>) -> Vec<&str> {
        let of_profile = profile.and_then(|profile| self.config.profiles.get(profile));
        let all = self
            .config
            .required
            .iter()
            .chain(of_profile.into_iter().flatten());
        let mut needed = Vec::new();
        for scope in all {
            if !needed.contains(&scope.as_str()) {
                needed.push(scope.as_str());
            }
        }
        needed
    }

    /// Whether these, with all that they stand for, are what an endpoint needs.
    pub(super) fn suffice(&self, has: &BTreeSet<String>, profile: Option<&str>) -> bool {
        let of_profile = profile.and_then(|profile| self.config.profiles.get(profile));
        let mut needed = self
            .config
            .required
            .iter()
            .chain(of_profile.into_iter().flatten());
        needed.all(|scope| has.contains(scope.as_str()))
    }

    /// Leaves those that some endpoint needs: the others are nothing to the gateway.
    pub(super) fn retain_needed(&self, scopes: &mut BTreeSet<String>) {
        let of_profiles = self.config.profiles.values().flatten();
        let needed = self.config.required.iter().chain(of_profiles);
        let needed: BTreeSet<&str> = needed.map(Scope::as_str).collect();
        scopes.retain(|scope| needed.contains(scope.as_str()));
    }

    /// These scopes, and all that they stand for (specification: `basic/authorization`, Step-Up
    /// Authorization Flow).
    pub(super) fn with_implied(&self, scopes: impl Iterator<Item = String>) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut rest: Vec<String> = scopes.collect();
        while let Some(scope) = rest.pop() {
            if all.contains(&scope) {
                continue;
            }
            if let Some(narrower) = self.implies.get(&scope) {
                rest.extend(narrower.iter().cloned());
            }
            all.insert(scope);
        }
        all
    }
}

impl ScopesConfig {
    /// What a token with these scopes lacks at an endpoint, with all that they stand for.
    #[must_use]
    pub fn missing(&self, has: &[String], profile: Option<&str>) -> Vec<String> {
        let scopes = Scopes::new(self);
        let has = scopes.with_implied(has.iter().cloned());
        let needed = scopes.needed(profile).into_iter();
        needed
            .filter(|scope| !has.contains(*scope))
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broad_scope_stands_for_narrower_ones_however_far() {
        let config = serde_json::from_str(
            r#"{ "required": ["mcp"], "profiles": { "coding": ["code", "mcp"] },
                 "implies": { "all": ["code"], "code": ["mcp"], "mcp": ["all"] } }"#,
        );
        let scopes = Scopes::new(&config.unwrap());
        let has = |scope: &str| scopes.with_implied(std::iter::once(scope.to_owned()));
        assert_eq!(scopes.needed(None), ["mcp"]);
        assert_eq!(scopes.needed(Some("coding")), ["mcp", "code"]);
        assert_eq!(scopes.needed(Some("other")), ["mcp"]);
        assert_eq!(has("all").len(), 3);
        assert!(scopes.suffice(&has("all"), Some("coding")));
        assert!(!scopes.suffice(&has("other"), None));
        let missing = |has: &str| scopes.config.missing(&[has.to_owned()], Some("coding"));
        assert!(missing("all").is_empty());
        assert_eq!(missing("other"), ["mcp", "code"]);
    }
}
