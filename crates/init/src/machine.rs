//! What this machine can hold programs with: found out once, by asking the kernel to do it.

mod cgroups;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    Scope,
};

/// The variable by which tests have this machine taken for a lesser one: any of `cgroups`,
/// `landlock`, `landlock_network` and `seccomp`, with commas between them.
pub const WITHOUT: &str = "SWITCHBOARD_TEST_MACHINE_WITHOUT";

/// What a machine can hold programs with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The control groups for memory, if programs can be put into some.
    pub memory: Option<Controller>,
    /// Those for processor time.
    pub cpu: Option<Controller>,
    /// Those for the number of processes.
    pub processes: Option<Controller>,
    /// The version of Landlock's interface, of those that make a difference: 1 to 6.
    pub landlock: Option<u8>,
    /// Whether it has seccomp.
    pub seccomp: bool,
}

/// Control groups of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Where those of programs can be made.
    pub parent: PathBuf,
    /// Of which version they are.
    pub version: CgroupVersion,
}

/// The version of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    /// A tree for each kind.
    V1,
    /// One tree.
    V2,
}

impl CgroupVersion {
    /// As people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "cgroup v1",
            Self::V2 => "cgroup v2",
        }
    }
}

/// The first version of Landlock's interface that sees TCP ports.
pub const LANDLOCK_NETWORK: u8 = 4;
/// The first that sees signals and abstract sockets.
pub const LANDLOCK_SCOPES: u8 = 6;

impl Machine {
    /// This machine.
    pub fn this() -> &'static Self {
        static THIS: OnceLock<Machine> = OnceLock::new();
        THIS.get_or_init(|| {
            // No release can be told to hold less than the kernel can.
            let without = match cfg!(debug_assertions) {
                true => std::env::var(WITHOUT).unwrap_or_default(),
                false => String::new(),
            };
            Self::detect().without(without.split(','))
        })
    }

    fn detect() -> Self {
        let [memory, cpu, processes] = cgroups::find();
        Self {
            memory,
            cpu,
            processes,
            landlock: landlock(),
            // Older than any kernel that this runs on, where it is built in at all.
            seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        }
    }

    fn without<'a>(mut self, missing: impl Iterator<Item = &'a str>) -> Self {
        for missing in missing {
            match missing {
                "cgroups" => (self.memory, self.cpu, self.processes) = (None, None, None),
                "landlock" => self.landlock = None,
                "landlock_network" => {
                    self.landlock = self.landlock.map(|abi| abi.min(LANDLOCK_NETWORK - 1));
                }
                "seccomp" => self.seccomp = false,
                _ => {}
            }
        }
        self
    }
}

/// Asks for what a version has that the one before has not.
type Asked<'a> = dyn Fn(Ruleset) -> Result<Ruleset, RulesetError> + 'a;

/// The version of Landlock's interface. A set of rules is made for each and let go.
fn landlock() -> Option<u8> {
    let files = |abi| move |ruleset: Ruleset| ruleset.handle_access(AccessFs::from_all(abi));
    let can = |asked: &Asked<'_>| {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        asked(ruleset).and_then(Ruleset::create).is_ok()
    };
    let network = |ruleset: Ruleset| ruleset.handle_access(AccessNet::from_all(ABI::V4));
    let scopes = |ruleset: Ruleset| ruleset.scope(Scope::from_all(ABI::V6));
    let versions: [(u8, &Asked<'_>); 6] = [
        (1, &files(ABI::V1)),
        (2, &files(ABI::V2)),
        (3, &files(ABI::V3)),
        (LANDLOCK_NETWORK, &network),
        (5, &files(ABI::V5)),
        (LANDLOCK_SCOPES, &scopes),
    ];
    let has = versions.into_iter().take_while(|(_, asked)| can(asked));
    has.map(|(abi, _)| abi).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesser_machine_can_be_assumed() {
        let group = Controller {
            parent: "/sys/fs/cgroup".into(),
            version: CgroupVersion::V2,
        };
        let able = Machine {
            memory: Some(group.clone()),
            cpu: Some(group.clone()),
            processes: Some(group),
            landlock: Some(6),
            seccomp: true,
        };
        let without = |text: &str| able.clone().without(text.split(','));
        assert_eq!(without(""), able);
        assert_eq!(without("landlock_network").landlock, Some(3));
        assert_eq!(without("cgroups,landlock,seccomp"), Machine::default());
    }

    #[test]
    fn whatever_this_machine_is_it_is_found_out() {
        let machine = Machine::this();
        assert!(machine.landlock.is_none_or(|abi| (1..=6).contains(&abi)));
        assert_eq!(machine, Machine::this());
    }
}
