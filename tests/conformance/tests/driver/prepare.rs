//! What goes before a task's program: as the task, told when it is slow, and gone when it fails.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use yurt_conformance::driver::{
    Isolation, Node, Program, Request, Site, exists, of_python, of_yurt, put_program, quoted, refused, soon, until,
};
use yurt_conformance::patience;
use yurt_nomad::driver::{ExitResult, Mount, TaskConfig};

const OTHERS: &str = "it prepares nothing";

/// A wheel of one module, and its check sum on the standard output.
const WHEEL: &str = r#"
import base64, hashlib, sys, zipfile
info = 'greet-1.0.dist-info/'
files = {
    'greet.py': b"def hello(): return 'hello from a wheel'\n",
    info + 'METADATA': b'Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n',
    info + 'WHEEL': b'Wheel-Version: 1.0\nGenerator: rows\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
}
record = ''
for name, data in files.items():
    sum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()
    record += f'{name},sha256={sum},{len(data)}\n'
files[info + 'RECORD'] = (record + info + 'RECORD,,\n').encode()
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    for name, data in files.items(): wheel.writestr(name, data)
print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())
"#;

/// Answers for `python -m venv`, for that environment's `python -m pip`, and for the program, by what a row puts into them.
fn interpreter(venv: &str, pip: &str) -> String {
    format!(
        "#!/bin/sh\n\
         case \"$*\" in\n\
         \"-I -m venv \"*) {venv}\n mkdir -p \"$4/bin\"; cat \"$0\" > \"$4/bin/python\"; chmod 755 \"$4/bin/python\";;\n\
         \"-I -m pip \"*) {pip};;\n\
         *) echo runs; exec sleep 600;;\n\
         esac\n"
    )
}

/// A task with requirements, whose interpreter is a script of the row's.
fn request_at(node: &Node, site: &Site, script: &str, requirements: &str) -> TaskConfig {
    put_program(&site.task_dir().join("local/python"), script);
    site.put("local/wheels/none", "");
    site.put("local/requirements.txt", "greet==1.0\n");
    fs::write(site.alloc_dir.join("alloc/data/requirements.txt"), "greet==1.0\n").unwrap();
    let text = format!(
        "code = \"1\"\ninterpreter = {}\nrequirements = {}\nwheels = {}",
        quoted(&site.local_path("python")),
        quoted(requirements),
        quoted(&site.local_path("wheels"))
    );
    node.task_config(site, &Request::of(Program::config(text)))
}

/// The messages of the events of a task, until one holds these words.
async fn told(events: &mut yurt_nomad::client::Events, id: &str, words: &str) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let event = soon(events.next()).await.unwrap();
        if event.task_id == id {
            told.push(event.message);
            if told.iter().any(|message| message.contains(words)) {
                return told;
            }
        }
    }
}

#[tokio::test]
async fn s50_requirements_are_installed_from_wheels_before_the_program_runs() {
    of_python("S50", OTHERS, async |node| {
        let python = "/usr/bin/python3";
        let site = node.site(false);
        let wheels = site.task_dir().join("local/wheels");
        fs::create_dir(&wheels).unwrap();
        let wheel = wheels.join("greet-1.0-py3-none-any.whl");
        let made = Command::new(python).args(["-c", WHEEL]).arg(&wheel).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let sum = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let code = "import greet, sys; print(greet.hello(), sys.prefix)";
        let request = |node: &Node, sum: &str| {
            site.put("local/requirements.txt", &format!("greet==1.0 --hash=sha256:{sum}\n"));
            let text = format!(
                "code = {}\ninterpreter = {python:?}\nrequirements = {}\nwheels = {}\nrequire_hashes = true",
                quoted(code),
                quoted(&site.local_path("requirements.txt")),
                quoted(&site.local_path("wheels"))
            );
            let mut config = node.task_config(&site, &Request::of(Program::config(text)).memory(512));
            // All of Python's library, which the rows' root has not.
            let library = |path: &str| Mount {
                task_path: path.to_owned(),
                host_path: path.to_owned(),
                read_only: true,
                ..Mount::default()
            };
            if node.subject.isolation == Isolation::Chroot {
                let minor = "import sys; print(f'/usr/lib/python3.{sys.version_info.minor}')";
                let minor = Command::new(python).args(["-c", minor]).output().unwrap().stdout;
                let places =
                    [String::from_utf8(minor).unwrap().trim().to_owned(), "/usr/share/python-wheels".to_owned()];
                config.mounts =
                    places.iter().filter(|path| fs::exists(path).unwrap()).map(|path| library(path)).collect();
            }
            config
        };
        let has_ensurepip = Command::new(python).args(["-c", "import ensurepip, venv"]).status().unwrap().success();
        if !has_ensurepip {
            let right = request(node, &sum);
            let (_, why, _) = refused(node.start_at(&site, right).await.map(|task| task.config.id));
            assert!(why.contains("making a virtual environment") && why.contains("ensurepip"), "{why}");
            return;
        }
        // A wheel that was changed on its way.
        let wrong = request(node, &"0".repeat(64));
        let (_, why, recoverable) = refused(node.start_at(&site, wrong).await.map(|task| task.config.id));
        assert!(why.contains("installing") && why.contains("ended with code 1") && why.contains(&sum), "{why}");
        assert!(!recoverable);
        node.nothing_is_left().await;
        let right = request(node, &sum);
        let task = node.start_at(&site, right).await.unwrap();
        assert_eq!(task.exit().await, ExitResult::code(0));
        let said = format!("hello from a wheel {}\n", site.local_path(".venv"));
        task.stdout().says(&said).await;
        // Whose it all is.
        let of_the_task = fs::metadata(site.task_dir().join("local/.venv/bin/pip")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&of_the_task), 65534);
    })
    .await;
}

#[tokio::test]
async fn s50_a_step_is_the_task_in_every_respect() {
    of_python("S50", OTHERS, async |node| {
        let site = node.site(false);
        let facts = "{ id -u; id -G; cat /proc/self/cgroup; ulimit -n; echo home $HOME; echo who $WHO; readlink /proc/self/ns/net; ls /; } > \"$NOMAD_TASK_DIR/facts\"";
        let config = request_at(node, &site, &interpreter(facts, "true"), &site.local_path("requirements.txt"));
        let task = node.start_at(&site, config).await.unwrap();
        task.stdout().says("runs").await;
        let facts = fs::read_to_string(site.task_dir().join("local/facts")).unwrap();
        let again = "{ id -u; id -G; cat /proc/self/cgroup; ulimit -n; echo home $HOME; echo who $WHO; readlink /proc/self/ns/net; ls /; }";
        let own = task.sh(again).await;
        // A command has a group of its own below the task's.
        let plain = |text: &str| {
            let lines = text.trim().lines().map(|line| line.split_once("/exec-").map_or(line, |(head, _)| head));
            lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
        };
        assert!(facts.starts_with("65534\n") && facts.contains(&site.alloc_id), "{facts}");
        assert_eq!(plain(&facts), plain(&own));
    })
    .await;
}

#[tokio::test]
async fn s32_a_step_that_another_try_may_mend_fails_so_and_leaves_nothing() {
    of_python("S32", OTHERS, async |node| {
        for (shared, recoverable) in [(true, true), (false, false)] {
            let site = node.site(false);
            let fails = "setsid sleep 616 >/dev/null 2>&1 & echo no greet here >&2; exit 4";
            let place =
                if shared { site.alloc_path("data/requirements.txt") } else { site.local_path("requirements.txt") };
            let config = request_at(node, &site, &interpreter("true", fails), &place);
            let (_, why, again) = refused(node.start_at(&site, config).await.map(|task| task.config.id));
            assert!(
                why.contains("installing") && why.contains("ended with code 4; its last words: no greet here"),
                "{why}"
            );
            assert_eq!(again, recoverable, "{why}");
            node.nothing_is_left().await;
        }
    })
    .await;
}

#[tokio::test]
async fn s50_a_start_that_is_given_up_ends_its_step() {
    of_python("S50", OTHERS, async |node| {
        for destroys in [false, true] {
            let site = node.site(false);
            let waits = "echo $$ > \"$NOMAD_ALLOC_DIR/data/pid\"; sleep 617";
            let config = request_at(node, &site, &interpreter(waits, "true"), &site.local_path("requirements.txt"));
            let (mut driver, wanted) = (node.driver.clone(), config.clone());
            let start = tokio::spawn(async move { driver.start(&wanted).await.map(|_| ()) });
            let file = site.alloc_dir.join("alloc/data/pid");
            until("the step runs", || fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n'))).await;
            assert!(!site.cgroups.processes().is_empty());
            let began = Instant::now();
            if destroys {
                soon(node.driver.destroy(&config.id, true)).await.unwrap();
                let (_, why, _) = refused(soon(start).await.unwrap());
                assert!(why.contains("given up"), "{why}");
            } else {
                // The agent goes away.
                start.abort();
            }
            until("its end", || site.cgroups.processes().is_empty()).await;
            node.nothing_is_left().await;
            assert!(began.elapsed() < patience(Duration::from_secs(20)), "{:?}", began.elapsed());
        }
    })
    .await;
}

#[tokio::test]
async fn s50_what_a_plugin_left_that_died_during_a_step_is_gone_before_the_next_one() {
    of_python("S50", OTHERS, async |node| {
        let site = node.site(false);
        let waits = "echo $$ >> \"$NOMAD_ALLOC_DIR/data/pid\"; [ -e \"$NOMAD_ALLOC_DIR/data/go\" ] || sleep 618";
        let config = request_at(node, &site, &interpreter(waits, "true"), &site.local_path("requirements.txt"));
        let (mut driver, wanted) = (node.driver.clone(), config.clone());
        let start = tokio::spawn(async move { driver.start(&wanted).await.map(|_| ()) });
        let file = site.alloc_dir.join("alloc/data/pid");
        until("the step runs", || fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n'))).await;
        let before = site.cgroups.processes();
        node.kill_plugin().await;
        assert!(soon(start).await.unwrap().is_err());
        node.relaunch().await;
        fs::write(site.alloc_dir.join("alloc/data/go"), "").unwrap();
        let task = node.start_at(&site, config).await.unwrap();
        task.stdout().says("runs").await;
        assert!(before.iter().all(|pid| !exists(*pid)), "{before:?}");
    })
    .await;
}

#[tokio::test]
async fn a08_a_slow_step_is_told_when_it_is_slow_and_when_it_is_done() {
    of_python("A08", OTHERS, async |node| {
        let mut events = soon(node.driver.events()).await.unwrap();
        let site = node.site(false);
        let script = interpreter("sleep 2.6", "true");
        let config = request_at(node, &site, &script, &site.local_path("requirements.txt"));
        let task = node.start_at(&site, config).await.unwrap();
        let told = told(&mut events, task.id(), " runs ").await;
        let slow = |words: &str| told.iter().filter(|message| message.contains(words)).count();
        assert_eq!(
            (slow("Before the task starts: making a virtual environment"), slow("Done after")),
            (1, 1),
            "{told:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a08_what_the_operator_does_not_grant_is_told() {
    of_yurt("A08", "it has no grants", async |node| {
        let config = node.subject.plugin_config_with("grants {\n users = [\"daemon\"]\n }");
        let mut other = Node::configured(node.subject, &config).await;
        let mut events = soon(other.driver.events()).await.unwrap();
        let site = other.site(false);
        let config = other.task_config(&site, &Request::of(Program::idle()));
        let (_, why, _) = refused(other.start_at(&site, config.clone()).await.map(|task| task.config.id));
        let told = told(&mut events, &config.id, "Refused").await;
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("yurt.grants.users has daemon") && told[0].ends_with(&why), "{told:?}, {why}");
        other.finish().await;
    })
    .await;
}
