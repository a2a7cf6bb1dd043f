//! Tools of which the operator says that they only read, and whose name or hints say something else.

use switchboard_backends::Backend;
use switchboard_backends::effects::Effects;
use switchboard_protocol::json;

use crate::config::{ConfigProblem, path};

/// Tools that a pattern of `cache.tools` names though their name or hints say that they change something: their
/// results are not cached, whatever the configuration says. Backends whose lists are unknown are passed over, and
/// so are names that `check` warns of without connecting.
#[must_use]
pub fn uncacheable_marks<'b>(
    backends: impl IntoIterator<Item = &'b Backend>,
) -> Vec<ConfigProblem> {
    backends.into_iter().flat_map(of_backend).collect()
}

fn of_backend(backend: &Backend) -> Vec<ConfigProblem> {
    let (Some((config, _)), Some(lists)) = (backend.cache(), backend.lists()) else {
        return Vec::new();
    };
    let tools = lists.tools.iter().filter(|tool| tool.effects.changes);
    let problems = tools.filter_map(|tool| {
        let item = config.marked_by(&tool.key)?;
        if config.tools[item] == tool.key && Effects::of_tool(&tool.key, b"{}").changes {
            return None;
        }
        let item = format!("[{item}]");
        let quoted = json::quoted(&tool.key);
        Some(ConfigProblem {
            path: path(&["backends", backend.name(), "cache", "tools", &item]),
            other: None,
            message: format!(
                "names the tool {}, whose name or hints say that it changes something: its results are not cached",
                String::from_utf8_lossy(&quoted)
            ),
        })
    });
    problems.collect()
}
