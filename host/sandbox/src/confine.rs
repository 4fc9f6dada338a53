//! What the compiling child may not do: use the network, start programs, open or change a file, or reach another
//! process.
//!
//! It opens its two files first and gives everything else up then. Landlock takes the files away, seccomp the network;
//! both hold for the thread that asks for them and for all threads that it starts. Where the kernel lacks one, or a
//! container forbids it, the child compiles without it and says so.

use std::collections::BTreeMap;
use std::sync::Once;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, LandlockStatus, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetStatus, Scope,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// What is asked of Landlock. Kernels that know less enforce what they know; all that know it keep files closed.
const LANDLOCK: ABI = ABI::V6;

/// System calls that are younger than the numbers of an architecture, and have the same number on all.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const FILE_SETATTR: i64 = 469;

/// System calls that the child is refused: sockets, other programs and processes, memory and messages that processes
/// share, what reaches around a filter of system calls, and what Landlock does not cover: rights, owners, attributes
/// and times of a file by its name, and its length in early versions.
const REFUSED: [i64; 76] = [
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_truncate,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_utimensat,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setpriority,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_ioprio_set,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// Older names of some of them, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: [i64; 6] =
    [libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat];

/// Older names of some of them, which this architecture does not have.
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: [i64; 0] = [];

/// The bit that names the same system call by the numbers of x32, which a filter by numbers would let pass.
const X32: i64 = 0x4000_0000;

/// Numbers under which x32 alone has `execve`, `sendmsg`, `ptrace` and others once more. Kernels before 5.4 take them
/// without the bit too. Source: seccomp(2), and `arch/x86/entry/syscalls/syscall_64.tbl` of Linux.
const X32_ALONE: std::ops::RangeInclusive<i64> = 512..=547;

/// Takes network and files away from this thread and those that it starts; open files stay. Returns what could not be
/// taken away, and why, as texts for the operator.
pub(super) fn confine() -> Vec<String> {
    let mut lacking = Vec::new();
    if let Err(why) = without_files() {
        lacking.push(format!("{WITHOUT_LANDLOCK} ({why})"));
    }
    if let Err(why) = without_network() {
        lacking.push(format!("{WITHOUT_SECCOMP} ({why})"));
    }
    lacking
}

const WITHOUT_LANDLOCK: &str = "Landlock, which closes the file system to it";
const WITHOUT_SECCOMP: &str = "seccomp, which closes the network to it";

fn without_files() -> Result<(), String> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|rules| rules.scope(Scope::from_all(LANDLOCK)))
        // No rule follows, so nothing is allowed.
        .and_then(Ruleset::create)
        .and_then(RulesetCreated::restrict_self)
        .map_err(|error| error.to_string())?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced, _) => Ok(()),
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => Err("the kernel has it switched off".to_owned()),
        (RulesetStatus::NotEnforced, _) => Err("the kernel lacks it, or the container forbids it".to_owned()),
    }
}

fn without_network() -> Result<(), String> {
    let filter = filter().map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&filter).map_err(|error| error.to_string())
}

fn filter() -> Result<BpfProgram, BackendError> {
    let numbers = REFUSED.into_iter().chain(REFUSED_HERE);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = numbers.map(|number| (number, Vec::new())).collect();
    // A process aborts by a signal to itself, and reads its own limits. It may do neither to another.
    for (number, itself) in [(libc::SYS_tgkill, u64::from(std::process::id())), (libc::SYS_prlimit64, 0)] {
        let is_other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, itself)?;
        rules.insert(number, vec![SeccompRule::new(vec![is_other])?]);
    }
    if cfg!(target_arch = "x86_64") {
        let of_x32: Vec<_> = rules.iter().map(|(number, rules)| (number | X32, rules.clone())).collect();
        rules.extend(of_x32);
        rules.extend(X32_ALONE.flat_map(|number| [(number, Vec::new()), (number | X32, Vec::new())]));
    }
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture)?.try_into()
}

/// What this kernel lacks, as far as can be said without giving anything up.
fn lacking_here() -> Vec<String> {
    let mut lacking = Vec::new();
    let landlock = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create);
    if let Err(error) = landlock {
        lacking.push(format!("{WITHOUT_LANDLOCK} ({error})"));
    }
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if !actions.split_whitespace().any(|action| action == "errno") {
        lacking.push(format!("{WITHOUT_SECCOMP} (/proc/sys/kernel/seccomp does not offer it)"));
    }
    lacking
}

/// Warns, once in the life of the process, if the compiling child can't be kept from the network or from files here.
pub fn warn_if_lacking() {
    warn_once(&lacking_here());
}

/// Warns, once in the life of the process, of what the compiling child said it lacked.
pub(super) fn warn_once(lacking: &[String]) {
    static WARNED: Once = Once::new();
    if !lacking.is_empty() {
        WARNED.call_once(|| {
            tracing::warn!("the process that compiles connectors runs without {}", lacking.join(", and without "));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Seek as _, Write as _};
    use std::net::{TcpStream, UdpSocket};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn no_call_is_listed_twice_and_the_filter_can_be_made() {
        let all: std::collections::BTreeSet<i64> = REFUSED.into_iter().chain(REFUSED_HERE).collect();
        assert_eq!(all.len(), REFUSED.len() + REFUSED_HERE.len());
        assert!(filter().is_ok());
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn calls_that_x32_has_under_other_numbers_are_refused_too() {
        let compared: Vec<u32> = filter().expect("a filter").iter().map(|instruction| instruction.k).collect();
        // sendmsg, execve, ptrace, process_vm_readv.
        for number in [518, 520, 521, 539] {
            assert!(compared.contains(&number) && compared.contains(&(number | 0x4000_0000)), "{number}");
        }
    }

    #[test]
    fn a_confined_thread_keeps_its_open_file_and_gets_no_other_file_and_no_socket() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let folder = tempfile::tempdir().expect("a folder");
        let (other, new) = (folder.path().join("other"), folder.path().join("new"));
        std::fs::write(&other, "x").expect("written");
        // Only the thread is confined, and those that it starts.
        let confined = move || {
            let mut held = tempfile::tempfile().expect("a file");
            let lacking = confine();
            held.write_all(b"kept").expect("an open file stays");
            held.rewind().expect("an open file stays");
            let child = std::thread::spawn({
                let other = other.clone();
                move || std::fs::read(other).map(drop)
            });
            let files = vec![
                std::fs::read(&other).map(drop),
                std::fs::write(&new, "x"),
                std::fs::remove_file(&other),
                child.join().expect("threads start"),
            ];
            let network = vec![
                TcpStream::connect(address).map(drop),
                UdpSocket::bind("127.0.0.1:0").map(drop),
                std::os::unix::net::UnixDatagram::unbound().map(drop),
                std::process::Command::new("/bin/true").status().map(drop),
                std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o644)),
            ];
            (lacking, files, network)
        };
        let (lacking, files, network) = std::thread::spawn(confined).join().expect("it ends");
        let lacks = |what: &str| lacking.iter().any(|lacking| lacking.starts_with(what));
        for (attempts, without) in [(files, WITHOUT_LANDLOCK), (network, WITHOUT_SECCOMP)] {
            for (n, attempt) in attempts.into_iter().enumerate() {
                let refused = attempt.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
                assert!(refused || lacks(without), "attempt {n} without {without}: {lacking:?}");
            }
        }
    }

    #[test]
    fn what_lacks_is_said_beforehand() {
        let before = lacking_here();
        for lacking in std::thread::spawn(confine).join().expect("it ends") {
            let what = lacking.split(" (").next().unwrap_or_default();
            assert!(before.iter().any(|before| before.starts_with(what)), "{lacking}: {before:?}");
        }
    }
}
