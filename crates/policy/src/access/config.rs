//! The section `access` of the configuration, and what can be wrong with it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use switchboard_protocol::pattern::matches;
use switchboard_protocol::policy::TargetKind;

use super::condition::Condition;
use super::pattern;

/// The most rules.
pub const MAX_RULES: usize = 1000;

/// What the audit and `switchboard check` say in the place of a rule: that none fits, and that the
/// arguments were refused before any was asked.
const TAKEN_NAMES: &[&str] = &["default", "arguments"];

/// Who may see and use what. Without this section everybody may do everything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// Whether what the rules deny is denied.
    pub mode: AccessMode,
    /// What happens where no rule fits.
    #[schemars(extend("default" = "deny"))]
    pub default: Effect,
    /// The rules, at most 1000, each name once. A rule that denies beats every rule that allows,
    /// whatever their order.
    #[schemars(extend("x-unique" = ["name"]))]
    pub rules: Vec<RuleConfig>,
}

/// Whether what rules deny is denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessMode {
    /// It is.
    #[default]
    Enforce,
    /// Nothing is denied; what would have been is counted, and told to the audit.
    Shadow,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It may be seen and used.
    Allow,
    /// It may not, and is hidden.
    #[default]
    Deny,
}

impl Effect {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// One rule. It fits where everything fits that it names; what it leaves out fits always.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Its name in the audit, in logs and in `switchboard check`. At least one character.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What happens where it fits.
    pub effect: Effect,
    /// For a rule that denies: `shadow` has it deny nothing, and count and tell what it would have
    /// denied.
    #[serde(default)]
    #[schemars(extend("default" = "enforce"))]
    pub mode: AccessMode,
    /// Whom it is about: patterns of principals such as `key:ci`, with `*` for any characters.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub users: Option<Vec<String>>,
    /// Whom it is about: members of any of these groups, patterns with `*`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub groups: Option<Vec<String>>,
    /// Whom it is about: those whose token has all of these claims, each with one of the values; of a
    /// claim that is a list, one item has to be one of them.
    #[serde(default)]
    #[schemars(
        with = "BTreeMap<String, Vec<String>>",
        extend("additionalProperties" = {
            "type": "array", "items": {"type": ["string", "boolean", "number"]}
        })
    )]
    pub claims: Option<BTreeMap<String, Vec<serde_json::Value>>>,
    /// Whom it is about: those that call through one of these OAuth clients, as their token names it;
    /// patterns with `*`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub clients: Option<Vec<String>>,
    /// Through which profiles, by name. Without it: through any, and without one.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub profiles: Option<Vec<String>>,
    /// Of which backends: patterns of their names, with `*`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub backends: Option<Vec<String>>,
    /// Which tools, by the names that clients see without a profile: patterns with `*`. A rule that
    /// names tools, prompts or resources is about these alone; one that names none is about
    /// everything.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub tools: Option<Vec<String>>,
    /// Which prompts, by the names that clients see: patterns with `*`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub prompts: Option<Vec<String>>,
    /// Which resources and templates, by URI as their server writes it: patterns with `*`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub resources: Option<Vec<String>>,
    /// On which condition: an expression in CEL over `args`, `principal` (`id`, `groups`, `client`),
    /// `claims`, `tool`, `name`, `backend` and `profile`, at most 2048 characters. Where it fails, a
    /// rule that allows does not fit, and one that denies does.
    #[serde(default)]
    #[schemars(with = "String")]
    pub when: Option<String>,
}

/// Something that is wrong with the section: the key below `access`, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessProblem {
    /// The keys from `access` on, the index of a rule in brackets.
    pub path: Vec<String>,
    /// What is wrong, and what is expected.
    pub message: String,
}

impl RuleConfig {
    /// Its lists of texts: the key, the texts, and whether they are names.
    fn lists(&self) -> [(&'static str, Option<&Vec<String>>, bool); 8] {
        [
            ("users", self.users.as_ref(), false),
            ("groups", self.groups.as_ref(), false),
            ("clients", self.clients.as_ref(), false),
            ("profiles", self.profiles.as_ref(), true),
            ("backends", self.backends.as_ref(), true),
            ("tools", self.tools.as_ref(), true),
            ("prompts", self.prompts.as_ref(), true),
            ("resources", self.resources.as_ref(), false),
        ]
    }

    fn problems(&self, at: usize, problems: &mut Vec<AccessProblem>) {
        let mut wrong = |keys: &[&str], message: String| {
            let index = format!("[{at}]");
            let path = ["rules", &index].into_iter().chain(keys.iter().copied());
            let path = path.map(str::to_owned).collect();
            problems.push(AccessProblem { path, message });
        };
        if self.name.trim().is_empty() {
            wrong(&["name"], "is empty; expected a name for the rule".into());
        }
        if TAKEN_NAMES.contains(&&*self.name) {
            let message = format!(
                "`{}` stands in the audit for what is no rule; expected another name",
                self.name
            );
            wrong(&["name"], message);
        }
        if self.mode == AccessMode::Shadow && self.effect == Effect::Allow {
            let message = "`shadow` is for a rule that denies; expected the rule without `mode`, or \
                           `mode: shadow` of the whole section";
            wrong(&["mode"], message.into());
        }
        const EMPTY: &str = "is empty, which matches nobody and nothing; leave it out";
        for (key, texts, is_of_names) in self.lists() {
            let Some(texts) = texts else { continue };
            if texts.is_empty() {
                wrong(&[key], EMPTY.into());
            }
            for (item, text) in texts.iter().enumerate() {
                let item = format!("[{item}]");
                if let Err(message) = pattern::check(text, is_of_names) {
                    wrong(&[key, &item], message);
                } else if key == "profiles" && text.contains('*') {
                    let message = format!(
                        "`{text}` is a pattern; expected the name of a profile, or no `profiles` for \
                         all of them"
                    );
                    wrong(&[key, &item], message);
                }
            }
        }
        if self.claims.as_ref().is_some_and(BTreeMap::is_empty) {
            wrong(&["claims"], EMPTY.into());
        }
        for (claim, values) in self.claims.iter().flatten() {
            if values.is_empty() {
                wrong(&["claims", claim], EMPTY.into());
            }
            if values
                .iter()
                .any(|value| value.is_array() || value.is_object() || value.is_null())
            {
                let message = "has a value that is no text, number, `true` or `false`; expected only \
                               these, or a condition in `when`";
                wrong(&["claims", claim], message.into());
            }
        }
        if let Some(Err(error)) = self.when.as_deref().map(Condition::compile) {
            wrong(&["when"], format!("of the rule `{}` {error}", self.name));
        }
    }
}

/// A pattern of a rule, for whoever looks whether there is anything that it fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePattern<'c> {
    /// The keys from `access` on, the index of a rule in brackets.
    pub path: Vec<String>,
    /// The pattern.
    pub text: &'c str,
    /// Whether it is one of backends.
    pub is_of_backends: bool,
    /// What it is of, if it is one of targets.
    pub kind: Option<TargetKind>,
}

impl RulePattern<'_> {
    /// Whether it fits this name.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        matches(self.text, name)
    }
}

impl AccessConfig {
    /// The patterns of backends, tools, prompts and resources in its rules.
    pub fn patterns(&self) -> impl Iterator<Item = RulePattern<'_>> {
        self.rules.iter().enumerate().flat_map(|(at, rule)| {
            let lists = [
                ("backends", &rule.backends, None),
                ("tools", &rule.tools, Some(TargetKind::Tool)),
                ("prompts", &rule.prompts, Some(TargetKind::Prompt)),
                ("resources", &rule.resources, Some(TargetKind::Resource)),
            ];
            lists.into_iter().flat_map(move |(key, texts, kind)| {
                let texts = texts.iter().flatten().enumerate();
                texts.map(move |(item, text)| RulePattern {
                    path: ["rules", &format!("[{at}]"), key, &format!("[{item}]")]
                        .map(str::to_owned)
                        .to_vec(),
                    text,
                    is_of_backends: kind.is_none(),
                    kind,
                })
            })
        })
    }

    /// Whether nobody may see or call anything: nothing is allowed by default, nor by a rule.
    #[must_use]
    pub fn hides_everything(&self) -> bool {
        let is_allowing = |rule: &RuleConfig| rule.effect == Effect::Allow;
        self.mode == AccessMode::Enforce
            && self.default == Effect::Deny
            && !self.rules.iter().any(is_allowing)
    }

    /// Everything that is wrong with it. Rules that are wrong and made a policy of nevertheless deny.
    #[must_use]
    pub fn problems(&self) -> Vec<AccessProblem> {
        let mut problems = Vec::new();
        if self.rules.len() > MAX_RULES {
            problems.push(AccessProblem {
                path: vec!["rules".to_owned()],
                message: format!("are {}; expected at most {MAX_RULES}", self.rules.len()),
            });
        }
        let mut names = BTreeMap::new();
        for (at, rule) in self.rules.iter().enumerate() {
            rule.problems(at, &mut problems);
            if let Some(first) = names.insert(&*rule.name, at) {
                problems.push(AccessProblem {
                    path: ["rules", &format!("[{at}]"), "name"]
                        .map(str::to_owned)
                        .to_vec(),
                    message: format!(
                        "`{}` is the name of rules[{first}] too; expected a different one for each",
                        rule.name
                    ),
                });
            }
        }
        problems
    }
}
