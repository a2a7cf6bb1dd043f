//! The tools that change the server itself, so that a test can watch the news travel.

use rmcp::ErrorData;
use rmcp::model::{CallToolResult, JsonObject};

use super::handler::{failure, string_argument, text};
use super::state::{Change, Shared};

/// `add_tool`: lists another tool, and says so before it answers.
pub(super) async fn add_tool(
    shared: &Shared,
    arguments: &JsonObject,
) -> Result<CallToolResult, ErrorData> {
    shared.add_tool(string_argument(arguments, "name")?)?;
    Ok(announce(shared, Change::Tools).await)
}

/// `remove_tool`: lists a tool no more, and says so before it answers.
pub(super) async fn remove_tool(
    shared: &Shared,
    arguments: &JsonObject,
) -> Result<CallToolResult, ErrorData> {
    if !shared.remove_tool(string_argument(arguments, "name")?) {
        return Ok(failure("There is no such tool"));
    }
    Ok(announce(shared, Change::Tools).await)
}

/// `touch_resource`: tells the resource's subscribers before it answers.
pub(super) async fn touch_resource(
    shared: &Shared,
    arguments: &JsonObject,
) -> Result<CallToolResult, ErrorData> {
    let uri = string_argument(arguments, "uri")?.to_owned();
    Ok(announce(shared, Change::Resource(uri)).await)
}

/// Tells of `change`; nothing has to have changed.
pub(super) async fn announce(shared: &Shared, change: Change) -> CallToolResult {
    shared.announce(&change).await;
    text("Done, and whoever listens was told")
}
