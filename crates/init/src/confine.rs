//! What holds for the program is put on the second step, which becomes it: never on the owner.

mod files;
mod system_calls;

use std::fs;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities, set_no_new_privs};

use crate::InitError;
use crate::confinement::Confinement;

/// Makes this process, and so the program, subject to all of it. What cannot be is an error: the
/// gateway asks only for what it has found to be there.
pub(crate) fn confine(confinement: &Confinement, groups: &[PathBuf]) -> Result<(), InitError> {
    for group in groups {
        // `0` is whoever writes it.
        fs::write(group.join("cgroup.procs"), "0").map_err(InitError::on("join its group"))?;
    }
    limit(Resource::Core, Some(0))?;
    limit(Resource::Nofile, confinement.open_files)?;
    limit(Resource::Fsize, confinement.file_size)?;
    let Some(sandbox) = &confinement.sandbox else {
        return Ok(());
    };
    set_no_new_privs(true).map_err(InitError::on("give up new privileges"))?;
    give_up_capabilities()?;
    if sandbox.landlock {
        files::restrict(sandbox)?;
    }
    if sandbox.seccomp {
        system_calls::restrict(&sandbox.network)?;
    }
    Ok(())
}

/// What root is left of its capabilities in a sandbox: those over its own files and processes. The
/// others lead around Landlock (`CAP_PERFMON` reads any process's environment), and raise limits.
/// Without new privileges no program gets them back.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID);

fn give_up_capabilities() -> Result<(), InitError> {
    let doing = "give up capabilities";
    let mut sets = capabilities(None).map_err(InitError::on(doing))?;
    for set in [
        &mut sets.effective,
        &mut sets.permitted,
        &mut sets.inheritable,
    ] {
        *set = set.intersection(KEPT);
    }
    set_capabilities(None, sets).map_err(InitError::on(doing))
}

/// Lowers a limit, as far as it is not lower already.
fn limit(resource: Resource, most: Option<u64>) -> Result<(), InitError> {
    let Some(most) = most else { return Ok(()) };
    let before = getrlimit(resource);
    let most = before.maximum.map_or(most, |before| before.min(most));
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, limit).map_err(InitError::on("set a limit"))
}
