//! What `serve` would miss on this machine, today. No mistakes: a configuration may be checked
//! elsewhere, and before.

use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use switchboard_backends::config::oauth::{ClientProof, KeySource};
use switchboard_orchestrator::config::ConfigProblem;

use super::Config;

impl Config {
    /// Files that cannot be read and folders that are not there, by key. Certificates are not among
    /// them: without those a configuration is not valid.
    pub fn not_on_this_machine(&self) -> Vec<ConfigProblem> {
        let mut missing = Vec::new();
        let audit = self.audit.iter();
        let written = audit.flat_map(|audit| {
            let file = audit.file.iter().map(|file| ("file", &file.path));
            let sqlite = audit.sqlite.iter().map(|sqlite| ("sqlite", &sqlite.path));
            file.chain(sqlite)
        });
        for (section, path) in written {
            if !path.parent().is_some_and(Path::is_dir) {
                let path = ["audit", section, "path"].map(str::to_owned).to_vec();
                let message = "is in a folder that is not there on this machine: `serve` does not \
                               start without it";
                missing.push((path, message.to_owned()));
            }
        }
        for (name, backend) in &self.backends {
            let proof = backend.oauth.iter().map(|oauth| &oauth.proof);
            for proof in proof {
                if let ClientProof::PrivateKey(key) = proof
                    && let KeySource::File(path) = &key.source
                    && File::open(path).is_err()
                {
                    let path = ["backends", name, "oauth", "private_key", "file"];
                    let message = "cannot be read on this machine: calls of this backend fail \
                                   without it";
                    missing.push((path.map(str::to_owned).to_vec(), message.to_owned()));
                }
            }
        }
        let problem = |(path, message)| ConfigProblem {
            path,
            other: None,
            message,
        };
        missing.into_iter().map(problem).collect()
    }

    /// API keys whose last day is over at this moment.
    pub fn expired_keys(&self, now: SystemTime) -> Vec<ConfigProblem> {
        let keys = self.auth.iter().flat_map(|auth| &auth.api_keys);
        let expired = keys.enumerate().filter(|(_, key)| {
            let day = key.expires.as_ref();
            day.is_some_and(|day| day.end() <= now)
        });
        let problem = |index: usize| {
            let path = ["auth", "api_keys", &format!("[{index}]"), "expires"];
            ConfigProblem {
                path: path.map(str::to_owned).to_vec(),
                other: None,
                message: "is over: the key is refused; remove it, or give it another day"
                    .to_owned(),
            }
        };
        expired.map(|(index, _)| problem(index)).collect()
    }
}
