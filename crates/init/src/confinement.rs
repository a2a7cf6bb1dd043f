//! What is to hold for a program, as the gateway tells it to the owner: one argument, in JSON. There
//! is no secret in it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a program and all that it starts may use and reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Confinement {
    /// The most descriptors that each of its processes may have open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// The largest file that each of its processes may write, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
    /// The control groups that are made for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// What the owner looks at each second, because no control group holds it.
    #[serde(skip_serializing_if = "Sampled::is_nothing")]
    pub sampled: Sampled,
    /// What it may reach; `None` for whatever its user may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
}

/// A control group that is made for one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The folder in which it is made.
    pub parent: PathBuf,
    /// The files that are written in it, in this order, and what into each.
    pub files: Vec<(String, String)>,
    /// Files that are written as well if they are there: not every kernel has them.
    pub if_there: Vec<(String, String)>,
    /// The file whose `oom_kill` counts the processes that the kernel has ended for their memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom: Option<String>,
}

/// Limits of a whole tree that are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampled {
    /// The most memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The most processes, threads counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
}

impl Sampled {
    /// Whether there is nothing to look at.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What a program may reach. What is not named here is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Files and folders that it may read and execute. Those that are not there are left out.
    pub read: Vec<PathBuf>,
    /// Files and folders that it may read, execute and change.
    pub write: Vec<PathBuf>,
    /// Whom it may connect to.
    pub network: Network,
    /// Whether it has a folder of its own for temporary files.
    pub private_tmp: bool,
    /// Whether Landlock is to hold it, which does not start it otherwise.
    pub landlock: bool,
    /// Whether seccomp is to hold it, which does not start it otherwise.
    pub seccomp: bool,
}

/// Whom a program may connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Everybody.
    All,
    /// Nobody.
    None,
    /// Whoever listens at one of these TCP ports, on any host.
    TcpPorts(Vec<u16>),
}

impl Confinement {
    /// As the one argument.
    ///
    /// # Errors
    /// If a path is not text in UTF-8.
    pub fn to_argument(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Of the one argument.
    pub(crate) fn from_argument(argument: &std::ffi::OsStr) -> Option<Self> {
        serde_json::from_str(argument.to_str()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let nothing = Confinement::default();
        assert_eq!(nothing.to_argument().expect("JSON"), "{}");
        let all = Confinement {
            open_files: Some(1024),
            file_size: Some(1 << 40),
            groups: vec![Group {
                parent: "/sys/fs/cgroup/a b".into(),
                files: vec![("memory.max".into(), "1".into())],
                if_there: vec![("memory.swap.max".into(), "0".into())],
                oom: Some("memory.events".into()),
            }],
            sampled: Sampled {
                memory: Some(1),
                processes: None,
            },
            sandbox: Some(Sandbox {
                read: vec!["/usr".into()],
                write: vec!["/srv/\"data\"".into()],
                network: Network::TcpPorts(vec![53, 443]),
                private_tmp: true,
                landlock: true,
                seccomp: false,
            }),
        };
        for confinement in [nothing, all] {
            let argument = confinement.to_argument().expect("JSON");
            assert_eq!(
                Confinement::from_argument(argument.as_ref()),
                Some(confinement)
            );
        }
        for wrong in ["", "sleep", "{\"sandbx\":{}}"] {
            assert_eq!(Confinement::from_argument(wrong.as_ref()), None, "{wrong}");
        }
    }
}
