//! Tools of which the operator says that they only read, and whose name or hints say something else.

use switchboard_protocol::json;

use crate::config::{ConfigProblem, path};
use crate::orchestrator::Inner;

/// Results of these are not cached, whatever the configuration says.
pub(crate) fn problems(inner: &Inner) -> Vec<ConfigProblem> {
    if inner.cached.is_none() {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (name, backend) in inner.backends.all().iter() {
        let (Some((config, _)), Some(lists)) = (backend.cache(), backend.lists()) else {
            continue;
        };
        let marked = lists.tools.iter().filter(|tool| config.marks(&tool.key));
        for tool in marked.filter(|tool| tool.effects.changes) {
            let quoted = json::quoted(&tool.key);
            problems.push(ConfigProblem {
                path: path(&["backends", name, "cache", "tools"]),
                other: None,
                message: format!(
                    "names the tool {}, whose name or hints say that it changes something: its results are not cached",
                    String::from_utf8_lossy(&quoted)
                ),
            });
        }
    }
    problems
}
