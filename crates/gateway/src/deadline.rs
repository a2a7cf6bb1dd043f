//! The layer of the call stack that takes the client's word for how long a call may take.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, Ready, ready};
use switchboard_orchestrator::TracedCall;
use switchboard_protocol::call::{Call, Deadline as CallDeadline, Outcome};
use switchboard_protocol::error::{CallError, ProtocolError};
use tokio::time::Instant;
use tower::{Layer, Service};

/// Makes [`Deadline`].
#[derive(Clone, Copy)]
pub(crate) struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

/// Sets the deadline of a call whose client names one, in
/// `_meta["dev.switchboard/timeoutMs"]`. What is configured can only make it earlier, and nothing
/// makes it later.
#[derive(Clone)]
pub(crate) struct Deadline<S> {
    inner: S,
}

impl<S> Service<TracedCall> for Deadline<S>
where
    S: Service<TracedCall, Response = Outcome, Error = Infallible>,
{
    type Response = Outcome;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Outcome, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut traced: TracedCall) -> Self::Future {
        match asked(&traced.call) {
            Ok(None) => {}
            Ok(Some(time)) => {
                traced.call.end_by(CallDeadline {
                    at: (Instant::now() + time).into_std(),
                    is_clients: true,
                });
            }
            Err(error) => return Either::Right(ready(Ok(Outcome::Failed(error)))),
        }
        Either::Left(self.inner.call(traced))
    }
}

/// The longest time that a client can name: more is no shorter than anything.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the client gives the call, if it says so.
fn asked(call: &Call) -> Result<Option<Duration>, CallError> {
    let Some(span) = call.request.meta.timeout_ms else {
        return Ok(None);
    };
    match call.request.number(Some(span)) {
        Some(ms @ 1..) => Ok(Some(Duration::from_millis(ms).min(LONGEST))),
        _ => Err(ProtocolError::invalid_params(
            "_meta[\"dev.switchboard/timeoutMs\"] is a whole number of milliseconds, at least 1",
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use switchboard_protocol::call::Principal;
    use switchboard_protocol::envelope::Envelope;
    use switchboard_protocol::method::Method;
    use switchboard_protocol::version::Version;

    fn call(meta: &str) -> Call {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","_meta":{{{meta}}}}}}}"#
        );
        Call::new(
            Envelope::parse(text.into()).expect("a request"),
            Method::ToolsCall,
            Arc::new(Principal::anonymous()),
            Version::LATEST,
        )
    }

    #[test]
    fn a_client_names_its_time_in_whole_milliseconds() {
        let key = "\"dev.switchboard/timeoutMs\"";
        assert_eq!(asked(&call("")).expect("no time"), None);
        let time = asked(&call(&format!("{key}:250"))).expect("a time");
        assert_eq!(time, Some(Duration::from_millis(250)));
        let endless = asked(&call(&format!("{key}:{}", u64::MAX))).expect("a time");
        assert_eq!(endless, Some(LONGEST));
        for wrong in ["0", "-1", "1.5", "\"1\"", "null", "1e3"] {
            let error = asked(&call(&format!("{key}:{wrong}"))).expect_err(wrong);
            assert!(error.to_string().contains("timeoutMs"), "{error}");
        }
    }
}
