//! Which tools of a chain there are for a caller.

use switchboard_protocol::call::Call;
use switchboard_protocol::policy::{Target, TargetKind};

use crate::orchestrator::Inner;

impl Inner {
    /// Whether this caller may know of this tool. One that is hidden is passed over, and not named.
    pub(super) fn shows_tool(&self, call: &Call, tool: &str) -> bool {
        let snapshot = self.catalogue.load();
        let (policy, principal) = (snapshot.policy(), &call.principal);
        let profile = call.profile.as_deref();
        let is_shown = |backend: &str| {
            let target = Target {
                kind: TargetKind::Tool,
                backend,
                name: tool,
            };
            policy.shows(principal, profile, &target)
        };
        if let Some(entry) = snapshot.tool(tool) {
            return is_shown(&entry.backend);
        }
        match snapshot.may_own(tool, |_| true) {
            Some(source) => is_shown(&source.name),
            // Whose it is nobody knows, and so who may know of it.
            None => policy.audience(principal, profile).is_none(),
        }
    }
}
