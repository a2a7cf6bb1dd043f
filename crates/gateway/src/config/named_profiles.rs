//! Profiles that other sections name: one that is not there protects nothing.

use switchboard_orchestrator::config::{ConfigProblem, did_you_mean, path};

use super::Config;

impl Config {
    /// Names of profiles in `auth` and `access` that no profile has.
    pub(super) fn unknown_profiles(&self) -> Vec<ConfigProblem> {
        let of_rules = self.access.iter().flat_map(|access| {
            access.rules.iter().enumerate().flat_map(|(at, rule)| {
                let named = rule.profiles.iter().flatten().enumerate();
                named.map(move |(item, name)| {
                    let keys = ["access", "rules", &index(at), "profiles", &index(item)];
                    (path(&keys), &**name)
                })
            })
        });
        let of_keys = self.auth.iter().flat_map(|auth| {
            auth.api_keys.iter().enumerate().flat_map(|(at, key)| {
                let named = key.profiles.iter().flatten().enumerate();
                named.map(move |(item, name)| {
                    let keys = ["auth", "api_keys", &index(at), "profiles", &index(item)];
                    (path(&keys), &**name)
                })
            })
        });
        let of_scopes = self.auth.iter().flat_map(|auth| {
            let named = auth.scopes.profiles.keys();
            named.map(|name| (path(&["auth", "scopes", "profiles", name]), &**name))
        });
        let named = of_rules.chain(of_keys).chain(of_scopes);
        named
            .filter(|(_, name)| !self.profiles.contains_key(*name))
            .map(|(path, name)| {
                let known = self.profiles.keys().map(|known| &**known);
                ConfigProblem {
                    message: format!(
                        "there is no profile `{name}`; expected one of `profiles`{}",
                        did_you_mean(name, known)
                    ),
                    other: (!self.profiles.is_empty()).then(|| vec!["profiles".to_owned()]),
                    path,
                }
            })
            .collect()
    }
}

fn index(at: usize) -> String {
    format!("[{at}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_is_named_has_to_be_there() {
        let config: Config = serde_json::from_value(serde_json::json!({
            "profiles": { "coding": {} },
            "access": { "rules": [
                { "name": "a", "effect": "deny", "profiles": ["coding", "codign"] },
                { "name": "b", "effect": "allow" },
            ] },
            "auth": { "api_keys": [{
                "name": "ci",
                "key_sha256": "88d20eea50f6b54c6cf69c053e698792536c6300bf22f37dfba57c4d1a868063",
                "profiles": ["reading"],
            }], "scopes": { "profiles": { "coding": ["code"], "writing": ["write"] } } },
        }))
        .expect("a configuration");
        let problems = config.unknown_profiles();
        let paths: Vec<String> = problems.iter().map(|it| it.path.join(".")).collect();
        assert_eq!(
            paths,
            [
                "access.rules.[0].profiles.[1]",
                "auth.api_keys.[0].profiles.[0]",
                "auth.scopes.profiles.writing"
            ]
        );
        assert!(
            problems[0].message.ends_with("did you mean `coding`?"),
            "{}",
            problems[0].message
        );
    }
}
