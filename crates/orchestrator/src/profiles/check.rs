//! Whether profiles fit what the servers offer.

use switchboard_protocol::pattern;
use switchboard_protocol::policy::TargetKind;

use super::Profile;
use super::listing::known_arguments;
use crate::catalogue::{Entry, Kind, Snapshot};
use crate::config::{ConfigProblem, did_you_mean};

/// What works otherwise than it reads: names and patterns that fit no tool, arguments that a tool
/// does not have, tools that others take the name of, more tools than a profile's limit. While the tools of some
/// backend are not known, nothing is said of what may be among them.
#[must_use]
pub fn problems(snapshot: &Snapshot) -> Vec<ConfigProblem> {
    let mut check = Check {
        snapshot,
        all_known: snapshot.sources().iter().all(|source| {
            let lists = source.lists.as_ref();
            lists.is_some_and(|lists| lists.missing.is_none())
        }),
        problems: Vec::new(),
    };
    for profile in snapshot.profiles() {
        check.unused(profile);
        check.arguments(profile);
        check.shadowed(profile);
        check.too_many(profile);
    }
    check.problems
}

struct Check<'s> {
    snapshot: &'s Snapshot,
    all_known: bool,
    problems: Vec<ConfigProblem>,
}

impl Check<'_> {
    fn say(&mut self, profile: &Profile, below: &[&str], message: String) {
        let keys = ["profiles", &**profile.name()].into_iter();
        self.problems.push(ConfigProblem {
            path: keys
                .chain(below.iter().copied())
                .map(str::to_owned)
                .collect(),
            other: None,
            message,
        });
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let snapshot = self.snapshot;
        let entries = snapshot.entries(Kind::Tool).iter();
        entries.map(|entry| &*entry.exposed)
    }

    fn unused(&mut self, profile: &Profile) {
        if !self.all_known {
            return;
        }
        for (item, tools) in profile.config.tools.iter().flatten().enumerate() {
            if tools.contains('*') && !self.names().any(|name| pattern::matches(tools, name)) {
                let message = format!("`{tools}` fits no tool");
                self.say(profile, &["tools", &format!("[{item}]")], message);
            }
        }
        for (key, tool) in profile.config.named_tools() {
            if self.snapshot.tool(tool).is_none() {
                let near = did_you_mean(tool, self.names());
                let message = format!("`{tool}` is no tool that a server has{near}");
                let key: Vec<&str> = key.iter().map(String::as_str).collect();
                self.say(profile, &key, message);
            }
        }
    }

    fn arguments(&mut self, profile: &Profile) {
        for (tool, arguments) in &profile.config.arguments {
            let entry = self.snapshot.tool(tool);
            let Some(known) = entry.and_then(|entry| known_arguments(&entry.item.raw)) else {
                continue;
            };
            let set = [("fixed", &arguments.fixed), ("default", &arguments.default)];
            for (key, argument) in set
                .into_iter()
                .flat_map(|(key, arguments)| arguments.keys().map(move |it| (key, it)))
            {
                if !known.contains(argument) {
                    let near = did_you_mean(argument, known.iter().map(String::as_str));
                    let message = format!(
                        "`{argument}` is no argument that the schema of `{tool}` names{near}"
                    );
                    self.say(profile, &["arguments", tool, key, argument], message);
                }
            }
        }
    }

    fn shadowed(&mut self, profile: &Profile) {
        let hidden: Vec<String> = profile
            .shadowed(self.names())
            .into_iter()
            .map(str::to_owned)
            .collect();
        for name in hidden {
            let base = profile.base(&name).unwrap_or(&name).to_owned();
            let message = format!(
                "gives `{base}` the name `{name}`, which a server has a tool of; that one is not \
                 in the profile"
            );
            self.say(profile, &["rename", &base], message);
        }
    }

    fn too_many(&mut self, profile: &Profile) {
        let tools = self.snapshot.tools_in(profile);
        if let Some(limit) = profile.tool_limit().filter(|limit| tools > *limit) {
            let message = format!(
                "is {limit}, and the profile has {tools} tools; all of them are listed: name fewer \
                 in `tools`, or leave some out with `exclude`"
            );
            self.say(profile, &["tool_limit"], message);
        }
    }
}

impl Snapshot {
    /// How many tools are in a profile, whoever looks.
    #[must_use]
    pub fn tools_in(&self, profile: &Profile) -> usize {
        let is_in = |entry: &&Entry| {
            let names = self.spellings(TargetKind::Tool, &entry.exposed);
            profile.has(TargetKind::Tool, &names, true)
        };
        let own = usize::from(self.kept_reader().is_some());
        own + self.entries(Kind::Tool).iter().filter(is_in).count()
    }
}
