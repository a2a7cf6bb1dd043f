//! Files, TCP ports, signals and abstract sockets: Landlock, as far as the kernel has it.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, NetPort, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use crate::InitError;
use crate::confinement::{Network, Sandbox};

/// What is asked for: what this was tested with. A kernel that has less of it gives less.
const ABI_ASKED: ABI = ABI::V6;

/// Restricts this process.
pub(super) fn restrict(sandbox: &Sandbox) -> Result<(), InitError> {
    let doing = "restrict what files it reaches";
    let created = ruleset(sandbox).map_err(|error| InitError::on(doing)(other(error)))?;
    let status = created
        .restrict_self()
        .map_err(|error| InitError::on(doing)(other(error)))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(InitError::on(doing)(io::ErrorKind::Unsupported));
    }
    Ok(())
}

fn ruleset(sandbox: &Sandbox) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::from_read(ABI_ASKED);
    // No device is ever made.
    let write = AccessFs::from_all(ABI_ASKED) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI_ASKED))?
        .scope(Scope::from_all(ABI_ASKED))?;
    if sandbox.network != Network::All {
        ruleset = ruleset.handle_access(AccessNet::from_all(ABI_ASKED))?;
    }
    let mut created = ruleset
        .create()?
        .add_rules(path_beneath_rules(&sandbox.read, read))?
        .add_rules(path_beneath_rules(&sandbox.write, write))?;
    if let Network::TcpPorts(ports) = &sandbox.network {
        for port in ports {
            created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    Ok(created)
}

fn other(error: RulesetError) -> io::Error {
    let number = *landlock::Errno::from(error);
    if number == 0 {
        return io::ErrorKind::Other.into();
    }
    io::Error::from_raw_os_error(number)
}
