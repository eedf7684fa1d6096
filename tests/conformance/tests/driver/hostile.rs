//! What a hostile task tries: `hostile.py` tries it, with a root of its own, as root and as nobody; here is asserted that nothing came of it.
//! Nomad's exec runs the same, and is only told of: `YURT_HOSTILE=1` has the
//! outcomes printed, which docs/isolation.md has side by side.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use yurt_conformance::driver::{Node, Program, Request, each, exists, in_a_root, soon};

const TRIES: &str = include_str!("hostile.py");

#[tokio::test]
async fn s42_a_hostile_task_is_contained() {
    in_a_root("S42", async |node| {
        for user in ["nobody", "root"] {
            if user == "root" && !node.is_yurt() && !all_capabilities() {
                continue;
            }
            let outcomes = tried(node, user).await;
            for line in outcomes.iter().filter(|_| std::env::var_os("YURT_HOSTILE").is_some()) {
                eprintln!("{}, {user}: {line}", node.subject);
            }
            let got: Vec<&String> = outcomes.iter().filter(|line| line.contains(": GOT: ")).collect();
            assert!(!node.is_yurt() || got.is_empty(), "{user}: {got:#?}");
        }
    })
    .await;
}

/// One line for each attempt.
async fn tried(node: &mut Node, user: &str) -> Vec<String> {
    let secret = node.dir().join("secret");
    fs::write(&secret, "untouched").unwrap();
    let mut bystander = bystander();
    let site = node.site(false);
    let told = site.alloc_path("data/keeper");
    let arguments = [bystander.id().to_string(), told, secret.display().to_string()].to_vec();
    let request = Request::of(Program::Python(TRIES.to_owned(), arguments)).user(user);
    let config = node.task_config(&site, &request);
    let task = node.start_at(&site, config.clone()).await.unwrap();
    let keeper = task.supervisor();
    fs::write(site.alloc_dir.join("alloc/data/keeper"), format!("{keeper}\n")).unwrap();
    task.stdout().says("done").await;
    let result = task.wait().await;
    let mut outcomes: Vec<String> = task.stdout().text().lines().map(str::to_owned).collect();
    assert_eq!(outcomes.pop().as_deref(), Some("done"), "{result:?}: {}", task.stderr().text());
    assert!(outcomes.len() >= 40 && result.exit.code == 0, "{result:?}: {}: {outcomes:#?}", task.stderr().text());
    let of_the_host = [
        ("a process of the host", exists(bystander.id())),
        ("the host's shared memory", !Path::new("/dev/shm/yurt-hostile").exists()),
        ("a file of the host", fs::read_to_string(&secret).unwrap() == "untouched"),
    ];
    for (what, whole) in of_the_host {
        outcomes.push(format!("{what}: {}", if whole { "contained: as it was" } else { "GOT: is not as it was" }));
    }
    task.destroy(true).await.unwrap();
    if node.is_yurt() {
        outcomes.push(format!("log pipe made a link: {}", behind_a_link(node, config, &secret).await));
    }
    bystander.kill().and_then(|()| bystander.wait()).unwrap();
    outcomes
}

/// The task has put a link in the place of its log pipe, and is started again.
async fn behind_a_link(node: &Node, mut config: yurt_nomad::driver::TaskConfig, secret: &Path) -> &'static str {
    config.id.push('2');
    fs::remove_file(&config.stdout_path).unwrap();
    std::os::unix::fs::symlink(secret, &config.stdout_path).unwrap();
    assert!(soon(node.driver.clone().start(&config)).await.is_err());
    if fs::read_to_string(secret).unwrap() == "untouched" {
        "contained: is not followed"
    } else {
        "GOT: written through"
    }
}

fn bystander() -> Child {
    Command::new("sleep").arg0("yurt-bystander").arg("1000").stdin(Stdio::null()).spawn().unwrap()
}

/// Nomad's exec gives a task of root all there are, which takes that it has them.
fn all_capabilities() -> bool {
    let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    let own = yurt_conformance::driver::status_field(std::process::id(), "CapEff").unwrap();
    u64::from_str_radix(&own, 16).unwrap().count_ones() == last + 1
}

const BOMB: &str = "
import os, time
for number in range(4000):
    try:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
    except OSError: break
print('exploded', flush=True)
time.sleep(600)
";

#[tokio::test]
async fn s42_of_a_task_that_multiplies_nothing_is_left_and_the_host_goes_on() {
    each("S42", async |node| {
        let task = node.run(Request::of(Program::python(BOMB)).memory(96)).await;
        let mut driver = task.driver.clone();
        let id = task.id().to_owned();
        let ended = tokio::spawn(async move { driver.wait(&id).await });
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(Command::new("true").status().unwrap().success());
        }
        task.stop(Duration::from_millis(100), "SIGTERM").await.unwrap();
        soon(ended).await.unwrap().unwrap();
        task.destroy(true).await.unwrap();
        assert_eq!(task.processes(), Vec::<u32>::new());
        node.nothing_is_left().await;
    })
    .await;
}
