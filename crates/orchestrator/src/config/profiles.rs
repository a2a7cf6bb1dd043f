//! What a client sees and calls at `/mcp/{profile}`: the `profiles` section of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use switchboard_protocol::delivery::{Conversion, Conversions};
use switchboard_protocol::pattern;

use super::chains::AnyValue;
use super::{ConfigProblem, NamesConfig, did_you_mean, path};

#[cfg(test)]
mod tests;

/// All profiles, by name.
pub type ProfilesConfig = BTreeMap<String, ProfileConfig>;

/// The most profiles of one configuration.
pub const MAX_PROFILES: usize = 64;
/// The longest name of a profile, in characters.
pub const MAX_NAME_LEN: usize = 64;
/// The longest text that a profile puts in the place of a server's, in bytes.
const MAX_TEXT: usize = 16 * 1024;

/// A part of what there is, as a server of its own at `/mcp/{profile}`. Patterns are names that
/// clients see without a profile; `*` stands for any characters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileConfig {
    /// The tools that are in it; absent: all.
    #[schemars(with = "Vec<String>")]
    pub tools: Option<Vec<String>>,
    /// The prompts that are in it; absent: those of every server that can have a tool in it.
    #[schemars(with = "Vec<String>")]
    pub prompts: Option<Vec<String>>,
    /// The resources, templates and skills that are in it, by URI as their server writes it, a
    /// template by its text; absent: those of every server that can have a tool in it.
    #[schemars(with = "Vec<String>")]
    pub resources: Option<Vec<String>>,
    /// The tools and prompts, and the URIs of resources, that are not in it, whatever else says so.
    pub exclude: Vec<String>,
    /// With more tools than this, at least 1, the log and `switchboard check --connect` warn. None
    /// is left out.
    #[schemars(with = "usize", range(min = 1))]
    pub tool_limit: Option<usize>,
    /// What models are told of how to use it, in the place of what the servers say; at most 16 KiB.
    #[schemars(with = "String")]
    pub instructions: Option<String>,
    /// Other names: from that of a tool without a profile to the one that it has in this one. By its
    /// old name there is no tool in this profile.
    pub rename: BTreeMap<String, String>,
    /// Other descriptions, by the name of the tool without a profile; each at most 16 KiB.
    pub describe: BTreeMap<String, String>,
    /// What becomes of the arguments of tools, by the name of the tool without a profile.
    pub arguments: BTreeMap<String, ArgumentsConfig>,
    /// What becomes of content that is not text, for clients that cannot use it.
    pub content: ContentConfig,
}

/// What becomes of content that is not text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContentConfig {
    /// Of images.
    pub image: ConversionConfig,
    /// Of audio.
    pub audio: ConversionConfig,
    /// Of binary resources, embedded in content or read.
    pub blob: ConversionConfig,
}

/// What becomes of one kind of content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversionConfig {
    /// It stays as it is.
    #[default]
    Keep,
    /// A text takes its place that says what was there.
    Drop,
    /// It is kept for a while, and a link to it takes its place; a text that says what was there where
    /// there is no room to keep it.
    Link,
}

impl ContentConfig {
    /// Whether some content is kept and linked to.
    #[must_use]
    pub fn links(&self) -> bool {
        [self.image, self.audio, self.blob].contains(&ConversionConfig::Link)
    }
}

impl From<ConversionConfig> for Conversion {
    fn from(config: ConversionConfig) -> Self {
        match config {
            ConversionConfig::Keep => Self::Keep,
            ConversionConfig::Drop => Self::Drop,
            ConversionConfig::Link => Self::Link,
        }
    }
}

impl From<ContentConfig> for Conversions {
    fn from(config: ContentConfig) -> Self {
        Self {
            image: config.image.into(),
            audio: config.audio.into(),
            blob: config.blob.into(),
        }
    }
}

/// Arguments of a tool that a profile sets.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ArgumentsConfig {
    /// Set on every call. Clients do not see these, and a call that gives another value is refused.
    #[schemars(with = "BTreeMap<String, AnyValue>")]
    pub fixed: BTreeMap<String, Value>,
    /// Set on a call that does not give them. Clients see the values as `default`, and need not give
    /// any.
    #[schemars(with = "BTreeMap<String, AnyValue>")]
    pub default: BTreeMap<String, Value>,
}

/// Checks the name of a profile, which is a part of a path.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_profile_name(name: &str) -> Result<(), String> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    if (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err("is not the name of a profile".to_owned())
}

impl ProfileConfig {
    /// Whether a tool of this name may be in it, as far as patterns tell.
    #[must_use]
    pub fn has_tool(&self, tool: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|it| pattern::matches(it, tool));
        self.tools.as_deref().is_none_or(any) && !any(&self.exclude)
    }

    /// Every key that names one tool, with the name: below the profile's own key.
    pub fn named_tools(&self) -> impl Iterator<Item = (Vec<String>, &String)> {
        let plain = |tool: &&String| !tool.contains('*');
        let tools = self.tools.iter().flatten().enumerate();
        let tools = tools
            .filter(move |(_, tool)| plain(tool))
            .map(|(item, tool)| (path(&["tools", &format!("[{item}]")]), tool));
        let keyed = |key: &str, tool: &'_ String| path(&[key, tool]);
        let renamed = self.rename.keys().map(move |it| (keyed("rename", it), it));
        let described = self
            .describe
            .keys()
            .map(move |it| (keyed("describe", it), it));
        let set = self
            .arguments
            .keys()
            .map(move |it| (keyed("arguments", it), it));
        tools.chain(renamed).chain(described).chain(set)
    }
}

/// What is wrong with profiles whatever backends there are.
#[must_use]
pub fn problems(profiles: &ProfilesConfig, names: &NamesConfig) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    if profiles.len() > MAX_PROFILES {
        problems.push(ConfigProblem {
            path: path(&["profiles"]),
            other: None,
            message: format!(
                "has {} profiles; expected at most {MAX_PROFILES}",
                profiles.len()
            ),
        });
    }
    for (name, profile) in profiles {
        let mut say = |below: &[&str], message: String| {
            let keys = ["profiles", name].into_iter().chain(below.iter().copied());
            problems.push(ConfigProblem {
                path: keys.map(str::to_owned).collect(),
                other: None,
                message,
            });
        };
        if let Err(problem) = check_profile_name(name) {
            let expected = format!("1 to {MAX_NAME_LEN} of the characters `A-Z a-z 0-9 _ -`");
            say(&[], format!("{problem}; expected {expected}"));
        }
        if profile.tool_limit == Some(0) {
            say(&["tool_limit"], "is 0; expected at least 1".to_owned());
        }
        wrong_patterns(profile, &mut say);
        wrong_texts(profile, &mut say);
        wrong_tools(profile, &mut say);
        wrong_renames(profile, names, &mut say);
        wrong_arguments(profile, &mut say);
    }
    problems
}

fn wrong_patterns(profile: &ProfileConfig, say: &mut impl FnMut(&[&str], String)) {
    let lists = [
        ("tools", profile.tools.as_deref()),
        ("prompts", profile.prompts.as_deref()),
        ("resources", profile.resources.as_deref()),
        ("exclude", Some(&profile.exclude[..])),
    ];
    for (key, patterns) in lists {
        let patterns = patterns.unwrap_or_default().iter().enumerate();
        for (item, _) in patterns.filter(|(_, pattern)| pattern.is_empty()) {
            let problem = "is empty, and fits nothing; expected a name, or a pattern with `*`";
            say(&[key, &format!("[{item}]")], problem.to_owned());
        }
    }
}

fn wrong_texts(profile: &ProfileConfig, say: &mut impl FnMut(&[&str], String)) {
    let too_long = |text: &str| {
        let len = text.len();
        (len > MAX_TEXT).then(|| format!("has {len} bytes; expected at most {MAX_TEXT}"))
    };
    if let Some(problem) = profile.instructions.as_deref().and_then(too_long) {
        say(&["instructions"], problem);
    }
    for (tool, text) in &profile.describe {
        if let Some(problem) = too_long(text) {
            say(&["describe", tool], problem);
        }
    }
}

/// Tools that something is said of and that are not in the profile.
fn wrong_tools(profile: &ProfileConfig, say: &mut impl FnMut(&[&str], String)) {
    for (key, tool) in profile.named_tools() {
        if key[0] == "tools" || profile.has_tool(tool) {
            continue;
        }
        let known = profile.tools.iter().flatten().map(String::as_str);
        let near = did_you_mean(tool, known.filter(|known| !known.contains('*')));
        let message = format!(
            "names `{tool}`, which `tools` and `exclude` leave out of the profile; expected a tool \
             in it{near}"
        );
        say(&[&key[0], tool], message);
    }
}

fn wrong_renames(
    profile: &ProfileConfig,
    names: &NamesConfig,
    say: &mut impl FnMut(&[&str], String),
) {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (tool, name) in &profile.rename {
        let max = names.max_length;
        if !(1..=max).contains(&name.len()) || !name.bytes().all(allowed) {
            let message = format!(
                "gives the name `{name}`; expected 1 to {max} of the characters `A-Z a-z 0-9 _ -`"
            );
            say(&["rename", tool], message);
        }
        if let Some(other) = taken.insert(name, tool) {
            let message =
                format!("gives the name `{name}`, which `{other}` gets too; expected another");
            say(&["rename", tool], message);
        }
        let others = profile.named_tools().map(|(_, other)| other);
        let mut others = others.filter(|other| !profile.rename.contains_key(*other));
        if others.any(|other| other == name && profile.has_tool(other)) {
            let message = format!(
                "gives the name `{name}`, which is that of another tool in the profile; expected \
                 another"
            );
            say(&["rename", tool], message);
        }
    }
}

fn wrong_arguments(profile: &ProfileConfig, say: &mut impl FnMut(&[&str], String)) {
    for (tool, arguments) in &profile.arguments {
        let fixed: BTreeSet<&String> = arguments.fixed.keys().collect();
        for argument in arguments.default.keys().filter(|it| fixed.contains(it)) {
            let message = format!("`{argument}` is in `fixed` too; expected it in one of them");
            say(&["arguments", tool, "default", argument], message);
        }
    }
}
