//! What is shown in the metrics at the moment of a scrape.

use switchboard_telemetry::Observed;

use crate::orchestrator::Orchestrator;

impl Orchestrator {
    /// Tells how all backends are doing, what lists cost, and what is kept of large results.
    pub fn observe(&self, observed: &mut Observed) {
        let inner = self.inner();
        for backend in inner.backends.all().values() {
            backend.observe(observed);
        }
        for sizes in inner.catalogue.load().sizes() {
            let profile = sizes.profile.as_deref().unwrap_or_default();
            for (list, size) in &sizes.lists {
                observed.profile_list(profile, *list, *size);
            }
        }
        let kept = inner.kept.usage();
        observed.kept_results(kept.results, kept.bytes);
    }
}
