//! The dangerous few of the system calls, and sockets: seccomp. They fail with `EPERM`.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::InitError;
use crate::confinement::Network;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refused whatever their arguments are: they look into other processes, change what the machine
/// is, get at the kernel where it has been weak, or go around what else holds the program.
const REFUSED: &[i64] = &[
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Memory and messages that all processes of a user share.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semctl,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // The kernel's own programs, events, keys and modules.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    // Sockets and files without the calls that are looked at.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_open_by_handle_at,
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];
/// Those that change what a process may use or when it runs, of which the first argument is whose.
const OF_A_PROCESS: &[i64] = &[
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
];
/// That the second argument of `ioprio_set` is a process.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
/// The bit of the numbers of the second table that x86-64 kernels may have (x32), through which the
/// same calls could be made.
#[cfg(target_arch = "x86_64")]
const SECOND_TABLE: Option<i64> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const SECOND_TABLE: Option<i64> = None;
/// Those that have another number there: ptrace, kexec_load, process_vm_readv and _writev.
const SECOND_TABLE_OWN: [i64; 4] = [521, 528, 539, 540];
/// `sendmsg` and `sendmmsg` there.
const SECOND_TABLE_SENDS: [i64; 2] = [518, 538];
/// What `clone` must not make.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// Restricts this process.
pub(super) fn restrict(network: &Network) -> Result<(), InitError> {
    let doing = "restrict its system calls";
    let refused = program(refused(network), libc::EPERM);
    // Its flags are behind a pointer, where nobody can look: without it the C library takes `clone`.
    let missing = program(everywhere(libc::SYS_clone3, Vec::new()), libc::ENOSYS);
    for program in [missing, refused] {
        let program = program.map_err(|_| InitError::on(doing)(io::ErrorKind::InvalidInput))?;
        apply_filter(&program).map_err(|error| InitError::on(doing)(other(error)))?;
    }
    Ok(())
}

fn other(error: seccompiler::Error) -> io::Error {
    match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        _ => io::ErrorKind::InvalidInput.into(),
    }
}

fn program(
    rules: impl IntoIterator<Item = (i64, Vec<SeccompRule>)>,
    error: libc::c_int,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(error.unsigned_abs()),
        arch,
    )?
    .try_into()
}

/// The rules of a call, in both tables.
fn everywhere(call: i64, rules: Vec<SeccompRule>) -> Rules {
    let again = SECOND_TABLE.map(|bit| (call | bit, rules.clone()));
    [(call, rules)].into_iter().chain(again).collect()
}

fn refused(network: &Network) -> Rules {
    let mut rules = Rules::new();
    for call in REFUSED {
        rules.extend(everywhere(*call, Vec::new()));
    }
    for call in SECOND_TABLE_OWN {
        rules.extend(SECOND_TABLE.map(|bit| (call | bit, Vec::new())));
    }
    // Of itself alone, which is process 0.
    for call in OF_A_PROCESS {
        let another = rule([argument(0, SeccompCmpOp::Ne, 0)]);
        rules.extend(everywhere(*call, another.into_iter().collect()));
    }
    for (call, process) in [
        (libc::SYS_setpriority, libc::PRIO_PROCESS.cast_signed()),
        (libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS),
    ] {
        let group = rule([argument(0, SeccompCmpOp::Ne, process)]);
        let another = rule([argument(1, SeccompCmpOp::Ne, 0)]);
        rules.extend(everywhere(call, group.into_iter().chain(another).collect()));
    }
    let new_namespace = NAMESPACES.iter().filter_map(|flag| has(0, *flag));
    rules.extend(everywhere(libc::SYS_clone, new_namespace.collect()));
    match network {
        Network::All => {}
        // No family at all: those that are not the internet's lead to other services of the machine.
        // Pairs of connected sockets are not made by this call.
        Network::None => rules.extend(everywhere(libc::SYS_socket, Vec::new())),
        Network::TcpPorts(_) => tcp_alone(&mut rules),
    }
    rules
}

/// Leaves TCP alone, of which Landlock sees each connection.
fn tcp_alone(rules: &mut Rules) {
    let families = [libc::AF_INET, libc::AF_INET6];
    let other_family = families.map(|family| argument(0, SeccompCmpOp::Ne, family));
    let kind = SeccompCmpOp::MaskedEq(0xf);
    let stream = libc::SOCK_STREAM;
    let other_kind = (0..=0xf)
        .filter(|other| *other != stream)
        .filter_map(|other| rule([argument(1, kind.clone(), other)]));
    let protocols = [0, libc::IPPROTO_TCP];
    let other_protocol = protocols.map(|protocol| argument(2, SeccompCmpOp::Ne, protocol));
    let sockets = rule(other_family)
        .into_iter()
        .chain(other_kind)
        .chain(rule(other_protocol));
    rules.extend(everywhere(libc::SYS_socket, sockets.collect()));
    // Takes a port of the system's choice where none was bound, which Landlock does not see.
    rules.extend(everywhere(libc::SYS_listen, Vec::new()));
    // Connects without `connect`, which is the call that Landlock looks at.
    for (call, flags) in [
        (libc::SYS_sendto, 3),
        (libc::SYS_sendmsg, 2),
        (libc::SYS_sendmmsg, 3),
    ] {
        let fast = has(flags, libc::MSG_FASTOPEN);
        rules.extend(everywhere(call, fast.into_iter().collect()));
    }
    for call in SECOND_TABLE_SENDS {
        let fast = has(
            if call == SECOND_TABLE_SENDS[0] { 2 } else { 3 },
            libc::MSG_FASTOPEN,
        );
        rules.extend(SECOND_TABLE.map(|bit| (call | bit, fast.into_iter().collect())));
    }
}

/// Fits if the argument has this flag.
fn has(index: u8, flag: libc::c_int) -> Option<SeccompRule> {
    let flag_alone = SeccompCmpOp::MaskedEq(u64::from(flag.cast_unsigned()));
    rule([argument(index, flag_alone, flag)])
}

/// Fits if all of these do.
fn rule<const N: usize>(conditions: [Option<SeccompCondition>; N]) -> Option<SeccompRule> {
    let conditions: Option<Vec<_>> = conditions.into_iter().collect();
    SeccompRule::new(conditions?).ok()
}

/// Of the lower half alone: that is what the kernel takes as flags, families and kinds.
fn argument(index: u8, operator: SeccompCmpOp, value: libc::c_int) -> Option<SeccompCondition> {
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_is_one_that_can_be_loaded() {
        for network in [Network::All, Network::None, Network::TcpPorts(vec![443])] {
            let rules = refused(&network);
            assert!(rules.contains_key(&libc::SYS_ptrace));
            let program = program(rules, libc::EPERM).expect("a filter");
            // The most instructions that the kernel takes.
            assert!(program.len() <= 4096, "{}", program.len());
        }
    }

    #[test]
    fn no_rule_is_lost() {
        let rules = refused(&Network::TcpPorts(vec![443]));
        assert_eq!(rules[&libc::SYS_clone].len(), NAMESPACES.len());
        // Another family, each other kind, another protocol.
        assert_eq!(rules[&libc::SYS_socket].len(), 1 + 15 + 1);
        assert_eq!(rules[&libc::SYS_sendto].len(), 1);
        assert!(rules[&libc::SYS_ptrace].is_empty());
        assert!(rules[&libc::SYS_listen].is_empty());
        for call in OF_A_PROCESS {
            assert_eq!(rules[call].len(), 1);
        }
        assert_eq!(rules[&libc::SYS_setpriority].len(), 2);
    }
}
