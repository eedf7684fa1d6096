//! StartTask and ExecTask: the system calls that a task is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use yurt_conformance::driver::{Isolation, Node, Program, Request, Task, of_yurt, refused, status_field};
use yurt_nomad::driver::ExitResult;

use crate::said::{nothing_came_of_it, said};

/// Calls that a filter refuses, some of which nothing else does. Each tells its error; `0`: it came about.
const CALLS: &str = "
import ctypes, errno, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == 'x86_64'
text = ctypes.create_string_buffer(b'user')
def call(name, on_x86, elsewhere, *arguments):
    ctypes.set_errno(0)
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    done = libc.syscall(ctypes.c_long(on_x86 if x86 else elsewhere), *words)
    if done == 0 and name in ('clone', 'clone3'): os._exit(0)
    print(name, errno.errorcode.get(ctypes.get_errno(), 0) if done < 0 else 0)
call('add_key', 248, 217, text, text, text, 4, -2)
call('keyctl', 250, 219, 0, -2, 0)
call('request_key', 249, 218, text, text, 0, 0)
call('userfaultfd', 323, 282, 1)
call('bpf', 321, 280, 0, 0, 0)
call('perf_event_open', 298, 241, 0, 0, -1, -1, 0)
call('io_uring_setup', 425, 425, 1, 0)
call('mount', 165, 40, text, text, text, 0, 0)
call('umount2', 166, 39, text, 0)
call('unshare', 272, 97, 0x10000000)
call('setns', 308, 268, 0, 0)
call('clone', 56, 220, 0x10000000 | 17, 0, 0, 0, 0)
call('open_by_handle_at', 304, 265, -1, text, 0)
call('personality', 135, 92, 0x400000)
call('clone3', 435, 435, 0, 0)
";

#[tokio::test]
async fn s41_calls_that_lead_into_the_kernel_are_refused_even_to_root() {
    of_yurt("S41", "it refuses none", async |node| {
        if node.subject.isolation == Isolation::None {
            return;
        }
        for user in ["root", "nobody"] {
            let told = said(node, Request::of(Program::python(CALLS)).user(user)).await;
            let (others, clone3) = told.trim_end().rsplit_once('\n').unwrap();
            assert!(others.lines().count() == 14 && others.lines().all(|line| line.ends_with(" EPERM")), "{told}");
            assert_eq!(clone3, "clone3 ENOSYS", "libraries then take clone");
        }
        node.configure("yurt { seccomp = \"none\" }").await.unwrap();
        let told = said(node, Request::of(Program::python(CALLS)).user("root")).await;
        assert!(told.contains("clone3 EINVAL") && told.contains("personality 0"), "{told}");
    })
    .await;
}

const ORDINARY: &str = "
import os, signal, socket, subprocess, threading, time
heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append('signal'))
threads = [threading.Thread(target=lambda: heard.append('thread')) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
child = os.fork()
if child == 0: os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert subprocess.run(['sh', '-c', 'echo $((6 * 7)) | cat'], capture_output=True).stdout == b'42\\n'
server = socket.create_server(('127.0.0.1', 0))
client = socket.socket()
client.connect(server.getsockname())
other, _ = server.accept()
client.sendall(b'x')
assert other.recv(1) == b'x'
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(0.01)
assert sorted(heard) == ['signal'] + ['thread'] * 8, heard
print('all is well')
";

#[tokio::test]
async fn s41_threads_processes_sockets_and_signals_are_as_ever() {
    of_yurt("S41", "it refuses none", async |node| {
        for user in ["root", "nobody"] {
            // With the host's files, root would need a grant.
            if user != "root" || node.subject.isolation.has_a_root() {
                assert_eq!(said(node, Request::of(Program::python(ORDINARY)).user(user)).await, "all is well\n");
            }
        }
    })
    .await;
}

/// `Seccomp` of the task's main process, of its process 1 and of a command; the kernel's 2 is a filter.
async fn modes(task: &Task) -> [String; 3] {
    let mode = |pid| status_field(pid, "Seccomp").unwrap().trim().to_owned();
    let told = task.sh("grep -h ^Seccomp: /proc/1/status /proc/self/status").await;
    let told: Vec<&str> = told.lines().map(|line| line.trim_start_matches("Seccomp:").trim()).collect();
    [mode(task.process("sleep").await), told[0].to_owned(), told[1].to_owned()]
}

async fn idle(node: &mut Node) -> Task {
    let task = node.run(Program::idle()).await;
    task.ready().await;
    task
}

#[tokio::test]
async fn s41_commands_are_under_the_tasks_filter_also_after_a_recovery_and_the_keeper_is_not() {
    of_yurt("S41", "it refuses none", async |node| {
        let own = status_field(std::process::id(), "Seccomp").unwrap().trim().to_owned();
        if node.subject.isolation == Isolation::None {
            let task = idle(node).await;
            assert_eq!(modes(&task).await.map(|mode| mode == own), [true; 3]);
            task.destroy(true).await.unwrap();
            let config = node.subject.plugin_config_with("seccomp = \"default\"");
            node.configure(&config).await.unwrap();
            let [task, _, command] = modes(&idle(node).await).await;
            assert_eq!([task.as_str(), command.as_str()], ["2", "2"]);
            return;
        }
        let task = idle(node).await;
        assert_eq!(modes(&task).await, ["2", "2", "2"]);
        assert_eq!(status_field(task.supervisor(), "Seccomp").unwrap().trim(), own);
        node.kill_plugin().await;
        node.relaunch().await;
        // What is configured by then is for later tasks.
        node.configure("yurt { seccomp = \"none\" }").await.unwrap();
        let task = node.recover(&task).await.unwrap();
        assert_eq!(modes(&task).await, ["2", "2", "2"]);
        task.destroy(true).await.unwrap();
        let task = idle(node).await;
        assert_eq!(modes(&task).await.map(|mode| mode == own), [true; 3]);
    })
    .await;
}

/// Becomes a program for which the kernel has no `seccomp`, as where it was built without.
const WITHOUT_SECCOMP: &str = "
import ctypes, os, platform, struct, sys
number = 317 if platform.machine() == 'x86_64' else 277
code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050016), (0x06, 0, 0, 0x7fff0000)]
program = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *one) for one in code))
head = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', len(code), ctypes.addressof(program)))
assert ctypes.CDLL(None).prctl(22, 2, ctypes.c_void_p(ctypes.addressof(head)), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
";

#[tokio::test]
async fn s41_where_the_kernel_has_no_filters_the_refusal_names_the_key() {
    of_yurt("S41", "it refuses none", async |node| {
        if node.subject.isolation == Isolation::None {
            return;
        }
        node.kill_plugin().await;
        let script = node.dir().join("without_seccomp.py");
        fs::write(&script, WITHOUT_SECCOMP).unwrap();
        node.hide(&format!("exec /usr/bin/python3 {} \"$0\" \"$@\"", script.display()));
        node.relaunch().await;
        let (_, why, recoverable) = refused(node.try_run(Program::idle()).await);
        assert!(why.contains("installing the seccomp filter") && why.contains("seccomp = \"none\""), "{why}");
        assert!(!recoverable);
        nothing_came_of_it(node).await;
        node.configure("yurt { seccomp = \"none\" }").await.unwrap();
        assert_eq!(node.run(Program::shell("exit 0")).await.exit().await, ExitResult::code(0));
    })
    .await;
}

/// Allows all but a few things, one of them by its arguments.
const STRICT: &str = r#"{
  "defaultAction": "SCMP_ACT_ALLOW",
  "syscalls": [
    { "names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30 },
    { "name": "socket", "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 16, "op": "SCMP_CMP_EQ" }] }
  ]
}"#;

/// Refuses all that is not listed, with what depends on capabilities and on the machine.
const LISTED: &str = r#"{
  "defaultAction": "SCMP_ACT_ERRNO",
  "defaultErrnoRet": 38,
  "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] }],
  "syscalls": [
    {
      "names": [
        "access", "brk", "chdir", "clock_gettime", "clock_nanosleep", "close", "close_range", "dup", "dup2", "dup3", "execve",
        "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fcntl", "fstat", "fstatfs", "futex", "getcwd",
        "getdents64", "getegid", "geteuid", "getgid", "getpgrp", "getpid", "getppid", "getrandom", "gettid", "getuid",
        "ioctl", "lseek", "lstat", "madvise", "mmap", "mprotect", "mremap", "munmap", "nanosleep", "newfstatat", "openat",
        "open", "pidfd_send_signal", "pipe2", "poll", "ppoll", "prctl", "pread64", "prlimit64", "read", "readlink",
        "readlinkat", "recvfrom", "recvmsg", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity",
        "sendmsg", "set_robust_list", "set_tid_address", "sigaltstack", "stat", "statx", "sysinfo", "tgkill", "uname",
        "vfork", "fork", "wait4", "waitid", "write", "writev"
      ],
      "action": "SCMP_ACT_ALLOW"
    },
    { "names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["amd64", "x32"] } },
    {
      "names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": { "caps": ["CAP_SYS_ADMIN"] },
      "args": [{ "index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }]
    },
    { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } }
  ]
}"#;

/// What becomes of calls that the profiles above are about.
const TELLING: &str = "
import errno, os, socket
def tell(name, call):
    try:
        call()
        print(name, 0)
    except OSError as why:
        print(name, errno.errorcode[why.errno])
tell('mkdir', lambda: os.mkdir('of-the-task'))
tell('netlink', lambda: socket.socket(16, socket.SOCK_RAW))
tell('internet', lambda: socket.socket(socket.AF_INET))
";

/// A task that asks for a profile.
fn asking(node: &Node, program: &Program, profile: &str) -> Program {
    Program::config(format!("{}\nseccomp = \"{profile}\"", node.subject.job_config(program)))
}

/// The block that defines a profile of this text.
fn defined(node: &Node, name: &str, text: &str) -> String {
    let file = node.dir().join(format!("{name}.json"));
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    format!("seccomp_profile {{\nname = \"{name}\"\nfile = \"{}\"\n}}\n", file.display())
}

async fn configured(node: &mut Node, in_the_block: &str) -> Result<(), String> {
    let config = node.subject.plugin_config_with(in_the_block);
    node.configure(&config).await.map_err(|why| why.to_string())
}

#[tokio::test]
async fn s41_a_job_gets_the_profile_that_it_asks_for_where_the_operator_defines_and_grants_it() {
    of_yurt("S41", "it refuses none", async |node| {
        let telling = asking(node, &Program::python(TELLING), "strict");
        let (_, why, recoverable) = refused(node.try_run(telling.clone()).await);
        assert!(why.contains("the plan's wishes.seccomp asks for the profile \"strict\""), "{why}");
        assert!(why.contains("no block yurt.seccomp_profile defines it") && !recoverable, "{why}");
        let profiles = defined(node, "strict", STRICT) + &defined(node, "listed", LISTED);
        configured(node, &profiles).await.unwrap();
        let (_, why, _) = refused(node.try_run(telling.clone()).await);
        assert!(why.contains("yurt.grants.seccomp does not name it"), "{why}");
        let of_others = "namespace {\nname = \"default\"\ngrants {\nseccomp = [\"none\"]\n}\n}";
        let granted = format!("{profiles}grants {{\nseccomp = [\"strict\", \"listed\"]\n}}\n");
        configured(node, &format!("{granted}{of_others}")).await.unwrap();
        let site = node.site(false);
        let mut config = node.task_config(&site, &Request::of(telling.clone()));
        config.namespace = "default".to_owned();
        let (_, why, _) = refused(node.start_at(&site, config).await);
        assert!(why.contains("(of yurt.namespace \"default\", not of all)"), "{why}");
        nothing_came_of_it(node).await;

        configured(node, &granted).await.unwrap();
        assert_eq!(said(node, telling).await, "mkdir EROFS\nnetlink EPERM\ninternet 0\n");
        let telling = asking(node, &Program::python(TELLING), "listed");
        assert_eq!(said(node, telling).await, "mkdir ENOSYS\nnetlink ENOSYS\ninternet ENOSYS\n");
        // Commands are under the task's own.
        let task = node.run(asking(node, &Program::idle(), "strict")).await;
        task.ready().await;
        let told = task.sh("mkdir /tmp/of-a-command 2>&1 || true").await;
        assert!(told.contains("Read-only file system"), "{told}");
    })
    .await;
}

#[tokio::test]
async fn s41_a_profile_may_be_for_all_and_then_less_takes_a_grant() {
    of_yurt("S41", "it refuses none", async |node| {
        let profile = defined(node, "strict", STRICT);
        configured(node, &format!("{profile}seccomp = \"strict\"\n")).await.unwrap();
        let told = "mkdir EROFS\nnetlink EPERM\ninternet 0\n";
        assert_eq!(said(node, Program::python(TELLING)).await, told);
        let usual = asking(node, &Program::python(TELLING), "strict");
        assert_eq!(said(node, usual).await, told);
        for other in ["default", "none"] {
            let program = asking(node, &Program::python(TELLING), other);
            let (_, why, _) = refused(node.try_run(program).await);
            assert!(why.contains(&format!("the profile {other:?}")) && why.contains("yurt.grants.seccomp"), "{why}");
        }
        configured(node, &format!("{profile}seccomp = \"strict\"\ngrants {{\nseccomp = [\"none\"]\n}}\n"))
            .await
            .unwrap();
        let none = asking(node, &Program::python(TELLING), "none");
        assert!(said(node, none).await.contains("netlink 0"));
        // Where there is none a task may have the usual one.
        configured(node, "seccomp = \"none\"").await.unwrap();
        let own = status_field(std::process::id(), "Seccomp").unwrap().trim().to_owned();
        let task = node.run(asking(node, &Program::idle(), "default")).await;
        task.ready().await;
        let mode = status_field(task.process("sleep").await, "Seccomp").unwrap();
        assert_eq!((mode.trim(), own == "2" || mode.trim() != own), ("2", true));
    })
    .await;
}

#[tokio::test]
async fn s41_a_profile_that_will_not_do_is_named_with_its_file_and_entry() {
    of_yurt("S41", "it refuses none", async |node| {
        let strict = defined(node, "strict", STRICT);
        for (text, words) in [
            (STRICT.replace("ERRNO", "NOTIFY"), ["bad.json: it is no profile: syscalls[0] (mkdir)", "SCMP_ACT_NOTIFY"]),
            (STRICT.replace("args", "arguments"), ["bad.json", "unknown field `arguments`"]),
            (
                STRICT.replace("\"mkdir\"", "\"execve\""),
                ["bad.json", "it refuses execve, without which no task starts"],
            ),
        ] {
            let bad = defined(node, "bad", &text);
            let why = configured(node, &bad).await.unwrap_err();
            assert!(
                words.iter().all(|word| why.contains(word)) && why.contains("yurt.seccomp_profile \"bad\""),
                "{why}"
            );
        }
        let why = configured(node, &format!("{strict}grants {{\nseccomp = [\"strickt\"]\n}}\n")).await.unwrap_err();
        assert!(why.contains("yurt.grants.seccomp: \"strickt\""), "{why}");
        let lacking = strict.replace("strict.json", "gone.json");
        let why = configured(node, &lacking).await.unwrap_err();
        assert!(why.contains("gone.json: it cannot be read"), "{why}");
        // What was configured before still holds, and the file may change without a task of it changing.
        configured(node, &format!("{strict}seccomp = \"strict\"\n")).await.unwrap();
        defined(node, "strict", "{");
        assert_eq!(said(node, Program::python(TELLING)).await, "mkdir EROFS\nnetlink EPERM\ninternet 0\n");
    })
    .await;
}
