//! Tasks under a profile of system calls, as the kernel sees it.

use std::sync::Arc;
use std::time::Duration;

use yurt_task::{HostPaths, Isolation, Launch, Namespaces, Profile, RootDirectory, Seccomp};

use crate::commands::{all, shell};
use crate::rig::{Rig, end, is_root, patience};

/// What the shell and its C library call, beside what each task needs.
const SHELL: &str = r#""access", "arch_prctl", "clone", "dup2", "dup3", "exit", "faccessat2", "fcntl", "fstat", "getcwd", "getegid",
    "geteuid", "getgid", "getpid", "getppid", "getrandom", "getuid", "lseek", "lstat", "mprotect", "newfstatat", "openat",
    "pread64", "prlimit64", "readlinkat", "rseq", "rt_sigreturn", "rt_sigsuspend", "set_robust_list", "set_tid_address", "stat",
    "statfs", "statx", "umask", "uname", "vfork""#;

/// What the profile itself says that each task needs.
fn needed() -> String {
    let why = Profile::parse(r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS"}"#).unwrap_err();
    let names = why.strip_prefix("it refuses ").unwrap().split_once(", without").unwrap().0;
    names.split(", ").map(|name| format!("{name:?}, ")).collect()
}

/// Whatever is not listed ends who calls it.
fn launch(rig: &Rig, script: &str, init: bool) -> Launch {
    let listed = format!(
        r#"{{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
            {{"names": [{}{SHELL}], "action": "SCMP_ACT_ALLOW"}},
            {{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}}]}}"#,
        needed()
    );
    let seccomp = Seccomp::Profile(Arc::new(Profile::parse(&listed).unwrap()));
    let at = |name: &str| rig.dir.path().join(name);
    std::fs::create_dir_all(at("root")).unwrap();
    let namespaces = Namespaces { pid: true, init, ipc: true, ..Namespaces::default() };
    let paths = ["/bin", "/lib", "/lib64", "/usr"].map(str::to_owned).to_vec();
    let root = RootDirectory {
        host: Some(HostPaths { paths, work: at("work") }),
        ..RootDirectory::of(at("root"), namespaces)
    };
    Launch { seccomp, isolation: Isolation::Chroot(Box::new(root)), ..rig.shell(script) }
}

#[tokio::test]
async fn what_a_profile_must_allow_is_enough_for_a_task_its_init_and_its_commands() {
    if !is_root() {
        return;
    }
    for init in [true, false] {
        let mut rig = Rig::new();
        let script = "trap 'echo heard; exit 7' TERM; ((exit 3) &); mkdir /x 2>/dev/null || echo refused; while :; do read -r _ < /dev/zero; done";
        let task = rig.tasks().start(launch(&rig, script, init)).await.unwrap();
        rig.logged("refused").await;
        let (stdout, stderr, exit) = all(task.exec(shell("mkdir /y; echo $?")).await.unwrap()).await;
        assert_eq!((stdout.as_str(), exit.code), ("1\n", 0), "{stderr}");
        assert!(stderr.contains("Read-only file system"), "{stderr}");
        let (_, _, exit) = all(task.exec(shell("exec chroot / true")).await.unwrap()).await;
        assert_eq!(exit.signal, libc::SIGSYS.cast_unsigned(), "a call that is not listed");
        task.kill(patience(Duration::from_secs(10))).await.unwrap();
        end(&task).await;
        rig.nothing_is_left();
        rig.remove_groups().await;
    }
}
