//! A server as people write them: with the official SDK, over lines. What a call of it costs is what
//! a cache saves.

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    Implementation, JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
    ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer, ServerInitializeError};
use rmcp::{ServerHandler, ServiceExt as _};

use crate::Failure;
use crate::wire::TOOL;

/// One tool, whose result is a text.
struct Server {
    text: String,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("switchboard-bench", "1.0.0"))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = JsonObject::from_iter([("type".to_owned(), "object".into())]);
        let tool = Tool::new(TOOL, "Answers with a text.", schema);
        Ok(ListToolsResult::with_all_items(vec![tool]))
    }

    async fn call_tool(
        &self,
        _request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = ContentBlock::text(self.text.clone());
        Ok(CallToolResult::success(vec![text]).into())
    }
}

/// Answers each line with results of so many bytes until standard input ends.
///
/// # Errors
/// If standard input or output breaks.
pub(crate) async fn serve(result_bytes: usize) -> Result<(), Failure> {
    let server = Server {
        text: "r".repeat(result_bytes),
    };
    let ended = match server.serve(rmcp::transport::io::stdio_pipes()).await {
        Ok(running) => running.waiting().await.map(drop),
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => return Err(Failure(format!("cannot begin: {error}"))),
    };
    ended.map_err(Failure::at("the server ended"))
}
