//! What is to hold for a local server, made of its configuration and of what this machine can: what
//! the server's owner is told, and what is said about it (decision 15).

mod paths;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use switchboard_init::confinement::{Confinement, Group, Network, Sandbox};
use switchboard_init::lifeline::Limit;
use switchboard_init::machine::{
    CgroupVersion, Controller, LANDLOCK_NETWORK, LANDLOCK_SCOPES, Machine,
};
use switchboard_protocol::byte_size;

use crate::config::sandbox::{NetworkConfig, Tmp};
use crate::config::{BackendConfig, LimitsConfig, SandboxConfig, TransportConfig};
use crate::process::{variable, variable_names};

/// The first version of Landlock's interface that sees that a file is cut short.
const LANDLOCK_TRUNCATE: u8 = 3;
/// The port of name servers.
const DNS_PORT: u16 = 53;
/// The period for which the kernel counts processor time, in microseconds.
const CPU_PERIOD: u32 = 100_000;

/// What is to hold for one local server.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Everything that is to hold, and how it is held on this machine.
    pub measures: Vec<Measure>,
    /// What it may read besides what `write` names; empty without a sandbox.
    pub read: Vec<PathBuf>,
    /// What it may change.
    pub write: Vec<PathBuf>,
    /// The names of the variables of its environment.
    pub variable_names: BTreeSet<String>,
    confinement: Confinement,
    caches: Vec<PathBuf>,
    is_required: bool,
}

/// One thing that is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Its key in the configuration of a backend, such as `limits.memory`; of what has none, a word
    /// in its place.
    pub key: &'static str,
    /// What it is to be: `1 GiB`, `none`.
    pub wanted: String,
    /// What holds it, or why nothing does, or not fully.
    pub held: Result<String, String>,
}

impl Plan {
    /// What is to hold for a local server on this machine; `None` of a remote one.
    #[must_use]
    pub fn of(config: &BackendConfig, machine: &Machine) -> Option<Self> {
        let TransportConfig::Stdio {
            command, env, cwd, ..
        } = &config.transport
        else {
            return None;
        };
        let mut plan = Self {
            variable_names: variable_names(env),
            is_required: config.sandbox.as_ref().is_some_and(|s| s.require),
            ..Self::default()
        };
        plan.limit(&config.limits, machine);
        if let Some(sandbox) = &config.sandbox {
            let variable = |name: &str| variable(env, name);
            plan.confine(sandbox, machine);
            plan.reach(sandbox, command, cwd.as_deref(), &variable);
            let own_tmp = (sandbox.tmp == Tmp::Private).then_some("TMPDIR");
            let added = plan.variables().into_iter().map(|(name, _)| name);
            let added = added.chain(own_tmp).map(str::to_owned);
            plan.variable_names.extend(added);
        }
        Some(plan)
    }

    fn add(&mut self, key: &'static str, wanted: impl Into<String>, held: Result<String, String>) {
        self.measures.push(Measure {
            key,
            wanted: wanted.into(),
            held,
        });
    }

    fn limit(&mut self, limits: &LimitsConfig, machine: &Machine) {
        let mut groups = Vec::new();
        if let Some(memory) = limits.memory {
            let held = match &machine.memory {
                Some(controller) => of_memory(&mut groups, controller, memory),
                None => {
                    self.confinement.sampled.memory = Some(memory);
                    "looked at each second".to_owned()
                }
            };
            self.add("limits.memory", byte_size::shown(memory), Ok(held));
        }
        if let Some(cores) = limits.cpu {
            let missing = || "no control group can be made here".to_owned();
            let controller = machine.cpu.as_ref().ok_or_else(missing);
            let held = controller.map(|controller| of_cpu(&mut groups, controller, cores));
            self.add("limits.cpu", cores.to_string(), held);
        }
        if let Some(processes) = limits.processes {
            let held = match &machine.processes {
                Some(controller) => {
                    let limit = [("pids.max", processes.to_string())];
                    add_files(&mut groups, controller, limit)
                }
                None => {
                    self.confinement.sampled.processes = Some(processes);
                    "looked at each second".to_owned()
                }
            };
            self.add("limits.processes", processes.to_string(), Ok(held));
        }
        let rlimit = || Ok("rlimit".to_owned());
        if let Some(open_files) = limits.open_files {
            self.add("limits.open_files", open_files.to_string(), rlimit());
        }
        if let Some(size) = limits.file_size {
            self.add("limits.file_size", byte_size::shown(size), rlimit());
        }
        self.confinement.open_files = limits.open_files;
        self.confinement.file_size = limits.file_size;
        self.confinement.groups = groups;
    }

    fn confine(&mut self, sandbox: &SandboxConfig, machine: &Machine) {
        let landlock = machine.landlock;
        let named = |abi: u8| format!("Landlock ABI {abi}");
        let files = match landlock {
            None => Err("this kernel has no Landlock".to_owned()),
            Some(abi) if abi < LANDLOCK_TRUNCATE => Err(format!(
                "{} does not see that a file is cut short",
                named(abi)
            )),
            Some(abi) => Ok(named(abi)),
        };
        let files_wanted = "what is named alone";
        self.add("sandbox.files", files_wanted, files);
        let network_held = match (&sandbox.network, landlock) {
            (NetworkConfig::All, _) => Ok("not restricted".to_owned()),
            (_, _) if !machine.seccomp => Err("this kernel has no seccomp".to_owned()),
            (NetworkConfig::None, _) => Ok("seccomp".to_owned()),
            (NetworkConfig::TcpPorts(_), Some(abi)) if abi >= LANDLOCK_NETWORK => {
                Ok(format!("{}, seccomp", named(abi)))
            }
            (NetworkConfig::TcpPorts(_), _) => Err(format!(
                "this kernel does not tell TCP ports apart, which takes Landlock ABI \
                 {LANDLOCK_NETWORK}: all of them are open"
            )),
        };
        self.add(
            "sandbox.network",
            show_network(&sandbox.network),
            network_held,
        );
        let tmp = match sandbox.tmp {
            Tmp::Private => "private",
            Tmp::Shared => "shared",
        };
        let tmp_held = match (sandbox.tmp, landlock) {
            (Tmp::Shared, _) => Ok("not restricted".to_owned()),
            (Tmp::Private, Some(_)) => Ok("a folder of its own".to_owned()),
            (Tmp::Private, None) => {
                Err("it has a folder of its own, and reaches the others".to_owned())
            }
        };
        self.add("sandbox.tmp", tmp, tmp_held);
        let calls = match machine.seccomp {
            true => Ok("seccomp".to_owned()),
            false => Err("this kernel has no seccomp".to_owned()),
        };
        self.add("sandbox.system_calls", "without the dangerous few", calls);
        let privileges = Ok("no_new_privs".to_owned());
        self.add("sandbox.privileges", "no new ones", privileges);
        // Kept where it can be and not promised: no key asks for it.
        if let Some(abi) = landlock.filter(|abi| *abi >= LANDLOCK_SCOPES) {
            self.add("sandbox.signals", "to its own alone", Ok(named(abi)));
        }
        self.confinement.sandbox = Some(Sandbox {
            read: Vec::new(),
            write: Vec::new(),
            network: match &sandbox.network {
                NetworkConfig::None => Network::None,
                NetworkConfig::All => Network::All,
                NetworkConfig::TcpPorts(ports) => Network::TcpPorts(ports.clone()),
            },
            private_tmp: sandbox.tmp == Tmp::Private,
            landlock: landlock.is_some(),
            seccomp: machine.seccomp,
        });
    }

    fn reach(
        &mut self,
        sandbox: &SandboxConfig,
        command: &str,
        cwd: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) {
        let paths = paths::paths(sandbox, command, cwd, variable);
        if let Some(sandbox) = &mut self.confinement.sandbox {
            sandbox.read.clone_from(&paths.read);
            sandbox.write.clone_from(&paths.write);
        }
        (self.read, self.write, self.caches) = (paths.read, paths.write, paths.caches);
    }

    /// What of it this machine cannot hold, or not fully.
    pub fn not_held(&self) -> impl Iterator<Item = (&Measure, &str)> {
        let measures = self.measures.iter();
        measures.filter_map(|measure| Some((measure, measure.held.as_ref().err()?.as_str())))
    }

    /// Why the server is not started: its sandbox has to hold fully, and does not.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let of_sandbox = |(measure, _): &(&Measure, &str)| measure.key.starts_with("sandbox.");
        let missing: Vec<String> = self
            .not_held()
            .filter(of_sandbox)
            .map(|(measure, why)| format!("`{}`: {why}", measure.key))
            .collect();
        let is_refused = self.is_required && !missing.is_empty();
        is_refused.then(|| {
            format!(
                "it is to be started in its sandbox alone, which this machine cannot hold ({})",
                missing.join("; ")
            )
        })
    }

    /// Variables that the server gets for the sake of its sandbox.
    #[must_use]
    pub(crate) fn variables(&self) -> Vec<(&'static str, &'static str)> {
        let sandbox = self.confinement.sandbox.as_ref();
        let over_tcp = sandbox.is_some_and(|sandbox| {
            matches!(&sandbox.network, Network::TcpPorts(ports) if ports.contains(&DNS_PORT))
        });
        // Read by the C library's resolver.
        over_tcp
            .then_some(("RES_OPTIONS", "use-vc"))
            .into_iter()
            .collect()
    }

    /// Makes the caches that its presets let it write, which are not there before their first use.
    pub(crate) fn make_caches(&self) {
        for folder in &self.caches {
            // One that cannot be made is one that the server has not.
            let _ = std::fs::create_dir_all(folder);
        }
    }

    /// What its owner is told.
    pub(crate) fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// How a server ended that was over a limit, after the words "its process".
    pub(crate) fn told_over(&self, limit: Limit) -> String {
        let (key, told) = match limit {
            Limit::Memory => ("limits.memory", "used more memory than its limit of"),
            Limit::Processes => (
                "limits.processes",
                "started more processes than its limit of",
            ),
        };
        let wanted = self.measures.iter().find(|measure| measure.key == key);
        let wanted = wanted.map_or("", |measure| &measure.wanted);
        format!("was ended because it {told} {wanted}")
    }
}

/// Warns of everything that this machine cannot hold.
pub(crate) fn warn(backend: &str, config: &BackendConfig) {
    let Some(plan) = Plan::of(config, Machine::this()) else {
        return;
    };
    for (Measure { key, wanted, .. }, why) in plan.not_held() {
        tracing::warn!(
            backend,
            key,
            wanted,
            "this machine does not hold what is configured: {why}"
        );
    }
}

/// A network as it is written in the configuration.
#[must_use]
pub fn show_network(network: &NetworkConfig) -> String {
    match network {
        NetworkConfig::None => "none".to_owned(),
        NetworkConfig::All => "all".to_owned(),
        NetworkConfig::TcpPorts(ports) => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!("TCP ports [{}]", ports.join(", "))
        }
    }
}

fn of_memory(groups: &mut Vec<Group>, controller: &Controller, bytes: u64) -> String {
    let bytes = bytes.to_string();
    // Without swap: a server that is over its limit is to be ended, not to slow the machine down.
    let (limit, swap, oom) = match controller.version {
        CgroupVersion::V1 => (
            "memory.limit_in_bytes",
            ("memory.memsw.limit_in_bytes", bytes.clone()),
            "memory.oom_control",
        ),
        CgroupVersion::V2 => (
            "memory.max",
            ("memory.swap.max", "0".to_owned()),
            "memory.events",
        ),
    };
    let held = add_files(groups, controller, [(limit, bytes)]);
    if let Some(group) = groups
        .iter_mut()
        .find(|group| group.parent == controller.parent)
    {
        group.oom = Some(oom.to_owned());
        let mut if_there = vec![swap];
        if controller.version == CgroupVersion::V2 {
            // Of a tree of which one was ended the rest is of no use.
            if_there.push(("memory.oom.group", "1".to_owned()));
        }
        group.if_there = if_there
            .into_iter()
            .map(|(file, value)| (file.to_owned(), value))
            .collect();
    }
    held
}

fn of_cpu(groups: &mut Vec<Group>, controller: &Controller, cores: f64) -> String {
    let quota = (cores * f64::from(CPU_PERIOD)).round();
    match controller.version {
        CgroupVersion::V1 => {
            let files = [
                ("cpu.cfs_period_us", CPU_PERIOD.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ];
            add_files(groups, controller, files)
        }
        CgroupVersion::V2 => add_files(
            groups,
            controller,
            [("cpu.max", format!("{quota} {CPU_PERIOD}"))],
        ),
    }
}

/// Adds to the group in this tree, which is one for all limits of it; says what holds them.
fn add_files<const N: usize>(
    groups: &mut Vec<Group>,
    controller: &Controller,
    files: [(&str, String); N],
) -> String {
    let files = files.map(|(file, value)| (file.to_owned(), value));
    match groups
        .iter_mut()
        .find(|group| group.parent == controller.parent)
    {
        Some(group) => group.files.extend(files),
        None => groups.push(Group {
            parent: controller.parent.clone(),
            files: files.to_vec(),
            if_there: Vec::new(),
            oom: None,
        }),
    }
    controller.version.as_str().to_owned()
}

#[cfg(test)]
mod tests;
