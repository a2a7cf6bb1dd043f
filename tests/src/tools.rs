//! Where the programs are that the tests start.

use std::path::{Path, PathBuf};

/// The folder of the repository.
///
/// # Panics
///
/// Never: this crate lies in a folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate lies in the repository")
}

/// The folder that `scripts/install-test-tools` fills: `SWITCHBOARD_TEST_CACHE`, or `.cache` in
/// the repository.
pub fn cache() -> PathBuf {
    std::env::var_os("SWITCHBOARD_TEST_CACHE")
        .map_or_else(|| repository().join(".cache"), PathBuf::from)
}

/// The installed Node, new enough for the conformance suite.
///
/// # Panics
///
/// If the test tools are not installed.
pub fn node() -> PathBuf {
    installed("npm/node_modules/.bin/node")
}

/// A file of an installed npm package, such as `@modelcontextprotocol/server-memory/dist/index.js`.
///
/// # Panics
///
/// If the test tools are not installed.
pub fn npm(file: &str) -> PathBuf {
    installed(&format!("npm/node_modules/{file}"))
}

/// The Python that has the real Python servers and the Python client.
///
/// # Panics
///
/// If the test tools are not installed.
pub fn python() -> PathBuf {
    installed("python/bin/python")
}

/// The Python that has the SDK of the legacy era and nothing newer.
///
/// # Panics
///
/// If the test tools are not installed.
pub fn python_legacy() -> PathBuf {
    installed("python-legacy/bin/python")
}

/// A program that checks files for deployment: `docker-compose`, `hadolint`, `helm`, `kubectl`, or
/// the `python` that knows the schemas of Kubernetes.
///
/// # Panics
///
/// If the test tools are not installed.
pub fn deploy(program: &str) -> PathBuf {
    match program {
        "docker-compose" | "helm" => installed(&format!("deploy-bin/{program}")),
        _ => installed(&format!("deploy/bin/{program}")),
    }
}

/// `prometheus` or `promtool`.
///
/// # Panics
///
/// If the test tools are not installed.
pub fn prometheus(program: &str) -> PathBuf {
    installed(&format!("prometheus/bin/{program}"))
}

fn installed(file: &str) -> PathBuf {
    let path = cache().join(file);
    assert!(
        path.exists(),
        "{} is not installed: run scripts/install-test-tools",
        path.display()
    );
    path
}

/// A program of the workspace, built in the same folder and profile as the running test.
///
/// # Panics
///
/// If it is not built. Cargo builds no programs of other packages for a test, so
/// `cargo build --workspace --all-targets` comes first, as in `scripts/test`.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own program");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("tests lie in target/PROFILE/deps");
    let path = profile.join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo build --workspace --all-targets`",
        path.display()
    );
    path
}
