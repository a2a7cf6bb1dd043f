//! What is not tried, each with its reason, and what is to be said of the rest.

use switchboard_tests::clients::Client;

use crate::Cell;
use crate::features::Feature;
use crate::servers::{Server, Transport};

const NOT_IN_MODERN: &str = "2026-07-28 has no such error";

/// Why this cell is not tried, if it is not.
pub(crate) fn reason(cell: &Cell) -> Option<&'static str> {
    let Cell {
        feature,
        client,
        backend,
    } = *cell;
    if feature == Feature::UrlError && backend.is_modern() {
        return Some(NOT_IN_MODERN);
    }
    match (feature, client, backend.server, backend.transport) {
        (
            Feature::Logs
            | Feature::Cancellation
            | Feature::SamplingWithTools
            | Feature::Two
            | Feature::Three
            | Feature::Prompt
            | Feature::Resource
            | Feature::ListChanges
            | Feature::ResourceUpdates
            | Feature::Task
            | Feature::UrlError,
            _,
            Server::Everything,
            _,
        ) => Some("`server-everything` does not have everything"),
        (
            Feature::Task | Feature::AskingTask,
            _,
            Server::TypeScript | Server::Python | Server::RmcpLegacy,
            _,
        ) => Some(
            "only servers of rmcp have tasks of 2026-07-28, only those of the SDKs 1.x older ones",
        ),
        (Feature::Task | Feature::AskingTask, _, Server::PythonLegacy, Transport::Http) => {
            Some("in the Python SDK 1.x the end of one HTTP session ends the tasks of all")
        }
        (Feature::Cancellation, Client::PythonLegacy, _, _) => {
            Some("the Python SDK 1.x cannot cancel a request")
        }
        (Feature::Logs, _, Server::RmcpLegacy, Transport::Http) => {
            Some("rmcp logs on the stream of the session, which names no call")
        }
        _ => None,
    }
}

/// What is to be said of a feature that works between a client and a server of these eras.
pub(crate) fn remark(
    feature: Feature,
    modern_client: bool,
    modern_server: bool,
) -> Option<&'static str> {
    match (feature, modern_client, modern_server) {
        (Feature::Task | Feature::AskingTask, false, true) => Some(
            "as one call, which ends with the task: a modern server does not say which of its \
             tools are tasks, so legacy clients, who would have to ask for one, cannot know",
        ),
        _ => None,
    }
}
