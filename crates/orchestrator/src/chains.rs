//! What takes the place of a tool that cannot answer.
//!
//! A chain stands outside of all that decides about a call: each substitute is a call of its own
//! name and passes everything again. Most calls meet it with a look-up, and only if they fail.

use std::collections::HashMap;
use std::sync::Arc;

use switchboard_protocol::call::Call;
use switchboard_protocol::method::Method;
use switchboard_protocol::pattern;
use tokio::time::Instant;

use crate::config::chains::{ChainsConfig, FallbackConfig};

mod arguments;
mod call;
pub mod check;
mod group;
mod judge;
mod latency;
mod schema;
pub(crate) mod standing_in;
mod state;
mod substitute;
mod tried;

use arguments::Mapping;
use group::{Group, Order};
use judge::Terms;

/// All chains and groups of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    fallbacks: Vec<Fallback>,
    groups: Vec<Group>,
    /// The group of a tool, and which of its members it is.
    group_of: HashMap<Arc<str>, (usize, usize)>,
}

/// What is tried when a tool cannot answer.
#[derive(Debug)]
struct Fallback {
    pattern: String,
    targets: Vec<(Arc<str>, Mapping)>,
    terms: Terms,
}

/// The tools that a call goes through, in order.
enum Route<'c> {
    /// The one that the call names, then these.
    Fallback(&'c Fallback),
    /// Members of a group. The call names this one.
    Group {
        group: &'c Group,
        called: usize,
        order: Order,
    },
}

impl Chains {
    pub(crate) fn new(config: &ChainsConfig) -> Self {
        let now = Instant::now();
        let groups: Vec<Group> = config
            .equivalents
            .iter()
            .map(|config| Group::new(config, now))
            .collect();
        let group_of = groups.iter().enumerate().flat_map(|(index, group)| {
            let members = group.members.iter().enumerate();
            members.map(move |(member, of)| (Arc::clone(&of.tool), (index, member)))
        });
        Self {
            fallbacks: config.fallbacks.iter().map(Fallback::new).collect(),
            group_of: group_of.collect(),
            groups,
        }
    }

    /// Whether there is any chain for calls of this kind that are no continuation: what answers a
    /// question goes to who asked it.
    fn may_concern(&self, call: &Call) -> bool {
        call.method == Method::ToolsCall
            && !(self.fallbacks.is_empty() && self.groups.is_empty())
            && !call.request.params.is_continuation()
    }

    /// The group of a tool.
    fn group(&self, tool: &str) -> Option<(&Group, usize)> {
        let (group, member) = *self.group_of.get(tool)?;
        Some((&self.groups[group], member))
    }

    /// What is tried when this tool cannot answer.
    fn fallback(&self, tool: &str) -> Option<&Fallback> {
        self.fallbacks
            .iter()
            .find(|fallback| pattern::matches(&fallback.pattern, tool))
    }

    /// What becomes of the arguments of `called` when `tool` takes its place, one after the other;
    /// `None` if it does not.
    fn mappings(&self, called: &str, tool: &str) -> Option<[&Mapping; 2]> {
        if let Some((group, from)) = self.group(called) {
            let to = group.members.iter().position(|of| *of.tool == *tool)?;
            return Some(group.mappings(from, to));
        }
        let mut targets = self.fallback(called)?.targets.iter();
        let (_, mapping) = targets.find(|(target, _)| **target == *tool)?;
        Some([mapping, &IDENTITY])
    }
}

/// Leaves arguments as they are.
static IDENTITY: Mapping = Mapping::IDENTITY;

impl Fallback {
    fn new(config: &FallbackConfig) -> Self {
        let targets = config.targets.iter();
        let targets = targets.map(|target| {
            let mapping = Mapping::new(config.map.get(target));
            (Arc::from(&**target), mapping)
        });
        Self {
            pattern: config.tool.clone(),
            targets: targets.collect(),
            terms: Terms {
                when: config.when.clone(),
                only_safe: config.only_safe,
            },
        }
    }
}

impl Route<'_> {
    fn terms(&self) -> &Terms {
        match self {
            Self::Fallback(fallback) => &fallback.terms,
            Self::Group { group, .. } => &group.terms,
        }
    }

    /// How many tools there are.
    fn len(&self) -> usize {
        match self {
            Self::Fallback(fallback) => fallback.targets.len() + 1,
            Self::Group { order, .. } => order.len(),
        }
    }

    /// The tool at this place, and what becomes of the arguments; `None`: the one that the call
    /// names.
    fn step(&self, at: usize) -> Option<(&Arc<str>, [&Mapping; 2])> {
        match self {
            Self::Fallback(fallback) => {
                let (tool, mapping) = fallback.targets.get(at.checked_sub(1)?)?;
                Some((tool, [mapping, &IDENTITY]))
            }
            Self::Group {
                group,
                called,
                order,
            } => {
                let member = *order.get(at)?;
                let substitutes = member != *called;
                substitutes.then(|| {
                    let tool = &group.members[member].tool;
                    (tool, group.mappings(*called, member))
                })
            }
        }
    }
}
