//! Whether somebody's credential is good for an endpoint at all, before any rule is asked.

use std::time::SystemTime;

use switchboard_policy::config::{ApiKeyConfig, AuthConfig};

/// Why a credential is not good for an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    /// The key of the configuration that decides.
    pub(super) by: &'static str,
    /// What it says, as the end of a sentence.
    pub(super) why: String,
}

/// Whether this key is for this profile, or `/mcp`, and today.
pub(super) fn of_key(key: &ApiKeyConfig, profile: Option<&str>) -> Option<Unfit> {
    let now = SystemTime::now();
    if key.expires.is_some_and(|day| now >= day.end()) {
        return Some(Unfit {
            by: "auth.api_keys.expires",
            why: "the key has expired".to_owned(),
        });
    }
    let profiles = key.profiles.as_ref()?;
    if profile.is_some_and(|profile| profiles.iter().any(|known| known == profile)) {
        return None;
    }
    let place = match profile {
        Some(profile) => format!("`{profile}` is not among them"),
        None => "`/mcp` is not among them; say which with --profile".to_owned(),
    };
    let profiles = profiles.join(", ");
    Some(Unfit {
        by: "auth.api_keys.profiles",
        why: format!("the key is for these profiles alone: {profiles}; {place}"),
    })
}

/// Whether a token with these scopes is good for this profile, or `/mcp`. Keys and certificates need
/// none.
pub(super) fn of_scopes(
    auth: &AuthConfig,
    scopes: &[String],
    profile: Option<&str>,
) -> Option<Unfit> {
    let missing = auth.scopes.missing(scopes, profile);
    (!missing.is_empty()).then(|| Unfit {
        by: "auth.scopes",
        why: format!("the token lacks the scope {}", missing.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DIGEST: &str = "80d84de89ed0b869f1fee93b5c0b579d9fe28dc0513d5a17f21f696e8a3c38ff";

    fn key(more: &[(&str, Value)]) -> ApiKeyConfig {
        let mut key = json!({ "name": "ci", "key_sha256": DIGEST });
        for (name, value) in more {
            key[*name] = value.clone();
        }
        serde_json::from_value(key).unwrap()
    }

    #[test]
    fn a_key_is_for_its_profiles_until_it_expires() {
        assert_eq!(of_key(&key(&[]), None), None);
        assert_eq!(of_key(&key(&[]), Some("coding")), None);
        let coding = key(&[("profiles", json!(["coding"]))]);
        assert_eq!(of_key(&coding, Some("coding")), None);
        for profile in [None, Some("other")] {
            let unfit = of_key(&coding, profile).unwrap();
            assert_eq!(unfit.by, "auth.api_keys.profiles");
        }
        let old = key(&[("expires", json!("2020-01-31"))]);
        assert_eq!(of_key(&old, None).unwrap().by, "auth.api_keys.expires");
        let new = key(&[("expires", json!("2999-01-31"))]);
        assert_eq!(of_key(&new, None), None);
    }
}
