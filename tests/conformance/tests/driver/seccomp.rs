//! StartTask and ExecTask: the system calls that a task is refused.

use std::fs;

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
