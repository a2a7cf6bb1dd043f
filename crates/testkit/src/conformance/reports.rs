//! The tools that report while they run: progress and logs.

#![expect(deprecated, reason = "logging is deprecated, and still in use")]

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, JsonObject, LoggingLevel, LoggingMessageNotificationParam,
    ProgressNotificationParam,
};
use serde_json::{Value, json};

use super::handler::{Context, modern, text};
use super::state::Session;

/// The pause between the reports of the suite's own tools.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest that one call of `slow` may take, in milliseconds.
const MAX_SLOW_MS: u64 = 600_000;
/// The most steps that one call of `slow` may have.
const MAX_STEPS: u32 = 10_000;

/// `test_tool_with_logging`: three logs with pauses between. A legacy client that asked for no
/// level gets them too, as 2025-11-25 server/utilities/logging leaves it to the server.
pub(super) async fn log_thrice(session: &Session, context: &Context) -> CallToolResult {
    let threshold = threshold(session, context);
    let threshold = threshold.or((!modern(context)).then_some(LoggingLevel::Debug));
    log(context, threshold, "Tool execution started").await;
    tokio::time::sleep(PAUSE).await;
    log(context, threshold, "Tool processing data").await;
    tokio::time::sleep(PAUSE).await;
    log(context, threshold, "Tool execution completed").await;
    text("Logged three times, where logs were wanted")
}

/// `test_logging_tool`: one log, where the client asked for a level.
pub(super) async fn log_once(session: &Session, context: &Context) -> CallToolResult {
    log(context, threshold(session, context), "Logged on request").await;
    text("Logged once, where logs were wanted")
}

/// `test_tool_with_progress`: 0, 50 and 100 of 100, with pauses between.
pub(super) async fn progress_thrice(context: &Context) -> CallToolResult {
    progress(context, 0.0, 100.0).await;
    tokio::time::sleep(PAUSE).await;
    progress(context, 50.0, 100.0).await;
    tokio::time::sleep(PAUSE).await;
    progress(context, 100.0, 100.0).await;
    text("Reported progress three times")
}

/// `slow`: takes `ms` milliseconds (default 1,000) in `steps` equal steps (default 1), with
/// progress and, where the client asked for a level, a log after each. Ends at once when it is
/// cancelled.
///
/// # Errors
///
/// −32602 for numbers out of bounds; −32603 when cancelled, which nobody is there to read.
pub(super) async fn slow(
    session: &Session,
    arguments: &JsonObject,
    context: &Context,
) -> Result<CallToolResult, ErrorData> {
    let ms = number(arguments, "ms", 1_000, &MAX_SLOW_MS)?;
    let steps = number(arguments, "steps", 1, &MAX_STEPS)?.max(1);
    let pause = Duration::from_millis(ms) / steps;
    let threshold = threshold(session, context);
    for step in 1..=steps {
        tokio::select! {
            () = context.ct.cancelled() => {
                return Err(ErrorData::internal_error("cancelled", None));
            }
            () = tokio::time::sleep(pause) => {}
        }
        progress(context, f64::from(step), f64::from(steps)).await;
        log(context, threshold, &format!("step {step} of {steps}")).await;
    }
    Ok(CallToolResult::structured(
        json!({ "ms": ms, "steps": steps }),
    ))
}

/// The least severe level that the client asked for, if it asked: on the request in the modern era,
/// by `logging/setLevel` in the legacy one.
fn threshold(session: &Session, context: &Context) -> Option<LoggingLevel> {
    if modern(context) {
        context.meta.log_level()
    } else {
        session.log_level()
    }
}

/// Logs at level info, unless the threshold is above it or there is none. A connection that no
/// longer takes it is the concern of the answer, which will fail too.
async fn log(context: &Context, threshold: Option<LoggingLevel>, message: &str) {
    // The variants are declared from the least to the most severe.
    if threshold.is_some_and(|level| level as u8 <= LoggingLevel::Info as u8) {
        let entry = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(message))
            .with_logger("conformance-server");
        let _ = context.peer.notify_logging_message(entry).await;
    }
}

/// Reports progress, if the request carries a token.
async fn progress(context: &Context, done: f64, total: f64) {
    if let Some(token) = context.meta.get_progress_token() {
        let report = ProgressNotificationParam::new(token, done).with_total(total);
        let _ = context.peer.notify_progress(report).await;
    }
}

fn number<N>(arguments: &JsonObject, name: &str, default: N, most: &N) -> Result<N, ErrorData>
where
    N: TryFrom<u64> + PartialOrd + std::fmt::Display,
{
    let Some(given) = arguments.get(name) else {
        return Ok(default);
    };
    Value::as_u64(given)
        .and_then(|given| N::try_from(given).ok())
        .filter(|given| given <= most)
        .ok_or_else(|| {
            let message = format!("{name} must be a whole number of at most {most}");
            ErrorData::invalid_params(message, None)
        })
}
