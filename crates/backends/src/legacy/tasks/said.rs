//! What a legacy server says of a task, and how the extension says it.

use switchboard_protocol::envelope::Response;
use switchboard_protocol::json;
use switchboard_protocol::splice::for_each_member;

use super::{MAX_SAID, response};

/// The members of a task that are shown as the server wrote them.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) status: String,
    /// `"key":value`, comma-separated.
    pub(super) members: Vec<u8>,
    /// The status's own message, as written.
    pub(super) message: Option<Vec<u8>>,
}

impl Said {
    /// Reads a task as a legacy server writes it.
    pub(super) fn read(task: &[u8]) -> Self {
        let mut said = Self::default();
        let mut ttl = b"null".to_vec();
        let mut members = Vec::new();
        for_each_member(task, |key, raw, value| match key {
            _ if value.len() > MAX_SAID => {}
            "status" => said.status = json::as_str(value).unwrap_or_default().into_owned(),
            "statusMessage" => said.message = Some(value.to_vec()),
            "createdAt" | "lastUpdatedAt" => {
                members.push(b',');
                members.extend_from_slice(raw);
            }
            "ttl" => ttl = value.to_vec(),
            "pollInterval" => {
                members.extend_from_slice(b",\"pollIntervalMs\":");
                members.extend_from_slice(value);
            }
            _ => {}
        });
        said.members = [b"\"ttlMs\":", &ttl[..], &members].concat();
        said
    }

    /// The task as the extension has it, with `more` members.
    pub(super) fn show(
        &self,
        result_type: &str,
        name: &str,
        status: &str,
        more: &[u8],
    ) -> Option<Response> {
        let mut out = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{{\"resultType\":\"{result_type}\",\"taskId\":\"{name}\",\"status\":\"{status}\","
        )
        .into_bytes();
        out.extend_from_slice(&self.members);
        // What was said of another status is not said of this one.
        if let Some(message) = self.message.as_ref().filter(|_| self.status == status) {
            out.extend_from_slice(b",\"statusMessage\":");
            out.extend_from_slice(message);
        }
        out.extend_from_slice(more);
        out.extend_from_slice(b"}}");
        response(out)
    }
}
