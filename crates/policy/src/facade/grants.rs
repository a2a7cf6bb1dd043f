//! Who may have which scopes: what is granted is what was asked for and may be had.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use switchboard_protocol::pattern;

use super::{Facade, Identity};
use crate::authenticate::named_by;
use crate::config::Scope;

/// Who may have a scope, by scope.
pub type Grants = BTreeMap<Scope, GrantConfig>;

/// Who may have a scope: whoever one of these fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrantConfig {
    /// Members of these groups, as rules of `access` name them; `*` stands for any characters.
    pub groups: Vec<String>,
    /// These principals, such as `https://id.example.com|anna`; `*` stands for any characters.
    pub principals: Vec<String>,
}

impl GrantConfig {
    fn fits(&self, principal: &str, groups: &[String]) -> bool {
        let fits = |patterns: &[String], name: &str| {
            patterns
                .iter()
                .any(|pattern| pattern::matches(pattern, name))
        };
        fits(&self.principals, principal) || groups.iter().any(|group| fits(&self.groups, group))
    }
}

impl Facade {
    /// Of these scopes, those that who has logged in may have; all where nothing says who may have
    /// which.
    pub(super) fn may_have(&self, identity: &Identity, scopes: &[String]) -> Vec<String> {
        let Some(grants) = &self.config.grants else {
            return scopes.to_vec();
        };
        let named = named_by(&identity.claims, &self.groups_claim);
        let groups: Vec<String> = named
            .into_iter()
            .map(|group| format!("{}{group}", self.group_prefix))
            .collect();
        let may_have = |scope: &&String| {
            let mut granted = grants.iter().filter(|(known, _)| known.as_str() == **scope);
            granted.any(|(_, to)| to.fits(&identity.subject, &groups))
        };
        scopes.iter().filter(may_have).cloned().collect()
    }

    /// Whether who has logged in may have something of what a client asks for. A client that needs no
    /// scope gets on without any.
    #[must_use]
    pub fn may_have_any(&self, identity: &Identity, scopes: &[String]) -> bool {
        scopes.is_empty() || !self.may_have(identity, scopes).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{config, facade_of};
    use super::Identity;

    fn identity(subject: &str, groups: &[&str]) -> Identity {
        let claims = json!({ "groups": groups });
        Identity {
            subject: format!("https://id.example.org|{subject}"),
            claims: claims.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn a_scope_is_for_those_that_may_have_it() {
        let mut config = config();
        let asked = ["mcp", "code", "all"].map(str::to_owned);
        let anybody = facade_of(config.clone());
        assert_eq!(anybody.may_have(&identity("anna", &[]), &asked), asked);

        config.grants = serde_json::from_value(json!({
            "mcp": { "principals": ["https://id.example.org|*"] },
            "code": { "groups": ["oidc:dev*"], "principals": ["https://id.example.org|anna"] },
        }))
        .unwrap();
        let facade = facade_of(config.clone()).with_group_prefix("oidc:");
        let of = |subject: &str, groups: &[&str]| {
            facade
                .may_have(&identity(subject, groups), &asked)
                .join(" ")
        };
        assert_eq!(of("ben", &["staff"]), "mcp");
        assert_eq!(of("ben", &["developers"]), "mcp code");
        assert_eq!(of("anna", &[]), "mcp code");
        let other = Identity {
            subject: "https://other.example|anna".to_owned(),
            ..identity("anna", &[])
        };
        assert!(!facade.may_have_any(&other, &asked));
        assert!(facade.may_have_any(&other, &[]));

        config.grants = Some(super::Grants::new());
        let nobody = facade_of(config);
        assert!(!nobody.may_have_any(&identity("anna", &["dev"]), &asked));
    }
}
