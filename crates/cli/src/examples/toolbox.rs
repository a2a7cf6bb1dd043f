//! `toolbox`: tools that need nothing but their arguments. No disk, no network, no clock.

mod calculate;
mod dates;
mod text;
mod units;

use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig, Tool,
    ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::table::{self, Output, Refusal, Table};

const COUNTDOWN: &str = "countdown";
const MAX_COUNTDOWN_SECONDS: u32 = 60;

/// The server; it keeps nothing between calls.
pub(super) struct ToolboxServer {
    pure: Table<()>,
    countdown: Tool,
    closing: CancellationToken,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Countdown {
    /// How many seconds to count, up to 60.
    #[schemars(range(max = 60))]
    seconds: u32,
}

#[derive(Serialize, JsonSchema)]
struct Counted {
    /// The seconds that were counted.
    seconds: u32,
}

impl Output for Counted {}

impl ToolboxServer {
    /// A server whose countdowns end when `closing` is cancelled.
    pub(super) fn new(closing: CancellationToken) -> Self {
        Self {
            pure: pure_tools(),
            countdown: table::define::<Countdown, Counted>(
                COUNTDOWN,
                "Countdown",
                "Count down and report progress every second, to watch progress and try out cancelling.",
                read_only(),
            ),
            closing,
        }
    }

    /// Counts down, and tells whoever gave a progress token about every second.
    async fn count_down(
        &self,
        seconds: u32,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        if seconds > MAX_COUNTDOWN_SECONDS {
            let text = format!("{seconds} seconds are too many; {MAX_COUNTDOWN_SECONDS} at most.");
            return Ok(Refusal(text).into());
        }
        let counting = async {
            let token = context.meta.get_progress_token();
            for left in (0..seconds).rev() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let Some(token) = token.clone() else { continue };
                let progress = ProgressNotificationParam::new(token, f64::from(seconds - left))
                    .with_total(f64::from(seconds))
                    .with_message(format!("{left} s left"));
                // A client that cannot be told is gone, and then the call is cancelled too.
                let _ = context.peer.notify_progress(progress).await;
            }
        };
        tokio::select! {
            () = counting => Ok(Counted { seconds }.into_result()),
            () = context.ct.cancelled() => Err(cancelled()),
            () = self.closing.cancelled() => Err(cancelled()),
        }
    }
}

fn cancelled() -> ErrorData {
    ErrorData::internal_error("The countdown was cancelled", None)
}

fn read_only() -> ToolAnnotations {
    ToolAnnotations::new()
        .read_only(true)
        .destructive(false)
        .idempotent(true)
        .open_world(false)
}

fn pure_tools() -> Table<()> {
    Table::new()
        .row(
            "calculate",
            "Calculate",
            "Evaluate an arithmetic expression: + - * / % (remainder) ^ (power), parentheses, sqrt(x), \
             round(x) or round(x, digits), min(…), max(…), abs(x), pi and e. Example: (3 + 4) * 2 ^ 3.",
            read_only(),
            |(), arguments| calculate::run(&arguments),
        )
        .row(
            "convert_units",
            "Convert units",
            "Convert a length, mass, temperature, data size or time from one unit to another. \
             Units are symbols or English names: km, mile, kg, lb, C, F, MB, MiB, h, days.",
            read_only(),
            |(), arguments| units::run(&arguments),
        )
        .row(
            "date_math",
            "Date arithmetic",
            "Take a date, add months, weeks and days to it (negative ones go back), and learn the weekday, ISO week \
             and day of the year of the result; with `until` also the distance to a second date.",
            read_only(),
            |(), arguments| dates::run(&arguments),
        )
        .row(
            "text_stats",
            "Text statistics",
            "Count the characters, bytes, words and lines of a text and estimate its tokens.",
            read_only(),
            |(), arguments| text::run(&arguments),
        )
}

impl ServerHandler for ToolboxServer {
    fn get_info(&self) -> ServerConfig {
        super::config(
            "switchboard-toolbox",
            "Toolbox",
            ServerCapabilities::builder().enable_tools().build(),
            "Exact arithmetic, unit conversion, dates and text counts: use these instead of working them out.",
        )
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        super::first_page(request)?;
        Ok(table::list(self.pure.tools().chain([&self.countdown])))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        if request.name != COUNTDOWN {
            let result = self.pure.call(&mut (), &request.name, arguments)?;
            return Ok(result.into());
        }
        match table::arguments(arguments) {
            Ok(Countdown { seconds }) => Ok(self.count_down(seconds, context).await?.into()),
            Err(refusal) => Ok(CallToolResult::from(refusal).into()),
        }
    }
}
