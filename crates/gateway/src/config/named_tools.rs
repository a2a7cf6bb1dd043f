//! Tools that fallbacks, equivalents and profiles name, and no backend can have.

use switchboard_orchestrator::config::{ConfigProblem, chains, nearest, path, profiles};
use switchboard_orchestrator::names::Namespaces;

use super::Config;

impl Config {
    /// Chains that are wrong in themselves, and tools in them that no backend can have: a name begins
    /// with the prefix of its backend.
    pub(super) fn wrong_chains(&self) -> Vec<ConfigProblem> {
        let wrong = chains::problems(&self.fallbacks, &self.equivalents).into_iter();
        let unknown = |(key, tool): (Vec<String>, &String)| {
            let message = self.nobodys_tool(tool)?;
            Some(ConfigProblem {
                path: key,
                other: Some(path(&["backends"])),
                message,
            })
        };
        let fallbacks = self.fallbacks.iter().enumerate();
        let fallbacks = fallbacks.flat_map(|(index, fallback)| {
            let at = path(&["fallbacks", &format!("[{index}]")]);
            let tool = Some(&fallback.tool).filter(|tool| !tool.contains('*'));
            let tool = tool.map(|tool| (below(&at, &["tool"]), tool));
            let targets = fallback.targets.iter().enumerate();
            let targets =
                targets.map(move |(item, tool)| (below(&at, &["try", &format!("[{item}]")]), tool));
            tool.into_iter().chain(targets)
        });
        let groups = self.equivalents.iter().enumerate();
        let groups = groups.flat_map(|(index, group)| {
            let at = path(&["equivalents", &format!("[{index}]"), "tools"]);
            let tools = group.tools.iter().enumerate();
            tools.map(move |(item, tool)| (below(&at, &[&format!("[{item}]")]), tool))
        });
        wrong
            .chain(fallbacks.chain(groups).filter_map(unknown))
            .collect()
    }

    /// Profiles that are wrong in themselves, and tools in them that no backend can have.
    pub(super) fn wrong_profiles(&self) -> Vec<ConfigProblem> {
        let wrong = profiles::problems(&self.profiles, &self.names).into_iter();
        let unknown = self.profiles.iter().flat_map(|(name, profile)| {
            let named = profile.named_tools();
            named.filter_map(move |(key, tool)| {
                let message = self.nobodys_tool(tool)?;
                let mut path = path(&["profiles", name]);
                path.extend(key);
                Some(ConfigProblem {
                    path,
                    other: Some(vec!["backends".to_owned()]),
                    message,
                })
            })
        });
        wrong.chain(unknown).collect()
    }

    /// Why no backend can have a tool of this name, if none can.
    fn nobodys_tool(&self, tool: &str) -> Option<String> {
        let backends = self.backends.iter();
        let prefixes = backends.map(|(name, backend)| (&**name, backend.prefix.as_deref()));
        let namespaces = Namespaces::new(&self.names, prefixes);
        let anybodys = (0..self.backends.len()).any(|index| namespaces.is_plain(index));
        if anybodys || namespaces.claimant(tool, |_| true).is_some() {
            return None;
        }
        let claims = (0..self.backends.len()).map(|index| namespaces.claim(index));
        let beginning = tool.split_once(&*self.names.separator);
        let near = beginning.and_then(|(prefix, _)| nearest(prefix, claims));
        let near = near.map_or(String::new(), |near| format!("; did you mean `{near}…`?"));
        Some(format!("names `{tool}`, which is no backend's tool{near}"))
    }
}

fn below(at: &[String], keys: &[&str]) -> Vec<String> {
    at.iter().cloned().chain(path(keys)).collect()
}
