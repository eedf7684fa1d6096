//! StartTask: what becomes of it, what is refused, and the handle.

use std::fs;

use yurt_conformance::driver::{Flavour, Program, Request, each, of_python, of_yurt, quoted, refused, soon};
use yurt_nomad::driver::ExitResult;

use crate::said::nothing_came_of_it;

#[tokio::test]
async fn s01_a_program_that_ends_well_is_told_as_such() {
    each("S01", async |node| {
        let task = node.run(Program::shell("echo hello")).await;
        assert_eq!(task.exit().await, ExitResult::code(0));
        task.stdout().says("hello\n").await;
        assert!(task.stderr().is_empty(), "{}", task.stderr().text());
    })
    .await;
}

#[tokio::test]
async fn s02_what_a_task_writes_to_the_shared_directory_is_there() {
    each("S02", async |node| {
        let task = node
            .run(Program::shell("echo shared > $NOMAD_ALLOC_DIR/data/file && echo own > $NOMAD_TASK_DIR/file"))
            .await;
        assert_eq!(task.exit().await, ExitResult::code(0), "{}", task.stderr().text());
        assert_eq!(fs::read_to_string(task.site.alloc_dir.join("alloc/data/file")).unwrap(), "shared\n");
        assert_eq!(fs::read_to_string(task.site.task_dir().join("local/file")).unwrap(), "own\n");
    })
    .await;
}

#[tokio::test]
async fn s03_a_task_works_where_it_is_told_to() {
    each("S03", async |node| {
        let site = node.site(false);
        let dir = site.alloc_path("data");
        let program = node.subject.job_config(&Program::shell("pwd"));
        let program = Program::config(format!("{program}work_dir = {}\n", quoted(&dir)));
        let config = node.task_config(&site, &Request::of(program));
        let task = node.start_at(&site, config).await.unwrap();
        task.stdout().says(&format!("{dir}\n")).await;
        assert_eq!(task.exit().await, ExitResult::code(0));
    })
    .await;
}

#[tokio::test]
async fn s03_without_a_word_a_task_works_in_its_own_directory() {
    each("S03", async |node| {
        let task = node.run(Program::shell("pwd -P")).await;
        task.stdout().says(&format!("{}\n", task.site.own_dir().display())).await;
    })
    .await;
}

#[tokio::test]
async fn s03_a_relative_script_is_found_in_the_work_dir() {
    of_python("S03", "a job of it says the whole command", async |node| {
        let site = node.site(false);
        site.put("local/app/hello.py", "print('hello from', __file__)");
        let dir = site.local_path("app");
        let program = Program::config(format!("script = \"hello.py\"\nwork_dir = {}", quoted(&dir)));
        let config = node.task_config(&site, &Request::of(program));
        let task = node.start_at(&site, config).await.unwrap();
        task.stdout().says("hello from").await;
        assert_eq!(task.exit().await, ExitResult::code(0));
    })
    .await;
}

#[tokio::test]
async fn s04_an_unknown_user_is_refused() {
    each("S04", async |node| {
        let (_, why, recoverable) = refused(node.try_run(Request::of(Program::idle()).user("alice")).await);
        assert!(why.contains("user") && why.contains("alice"), "{why}");
        assert!(!recoverable);
        nothing_came_of_it(node).await;
    })
    .await;
}

#[tokio::test]
async fn s05_a_start_that_fails_leaves_no_process_and_no_member_of_a_control_group() {
    each("S05", async |node| {
        let missing = match node.subject.flavour {
            Flavour::Python => "interpreter = \"/no/such/program\"\ncode = \"1\"",
            _ => "command = \"/no/such/program\"",
        };
        for _ in 0..3 {
            refused(node.try_run(Program::config(missing)).await);
            refused(node.try_run(Request::of(Program::idle()).user("alice")).await);
        }
        nothing_came_of_it(node).await;
    })
    .await;
}

#[tokio::test]
async fn s30_the_handle_is_small_and_holds_no_secret() {
    of_yurt("S30", "its state holds the whole task, environment included", async |node| {
        let task = node.run(Request::of(Program::idle()).env("TOKEN", "s.ecret-9f1c")).await;
        assert!(task.handle.version >= 1);
        let state = &task.handle.driver_state.0;
        assert!((32..=400).contains(&state.len()), "{} bytes", state.len());
        assert!(!state.windows(8).any(|part| part == b"s.ecret-"), "{state:?}");
        let on_disk = files_below(node.dir()).into_iter().filter(|path| !path.starts_with(&task.site.alloc_dir));
        for path in on_disk {
            let bytes = fs::read(&path).unwrap_or_default();
            assert!(!bytes.windows(12).any(|part| part == b"s.ecret-9f1c"), "{}", path.display());
        }
    })
    .await;
}

#[tokio::test]
async fn s30_a_handle_is_given_for_a_task_that_runs() {
    each("S30", async |node| {
        let task = node.run(Program::idle()).await;
        assert!(!node.is_yurt() || task.handle.state == yurt_nomad::driver::TaskState::Running);
        assert_eq!(task.handle.config.id, task.id());
        assert!(!task.handle.driver_state.0.is_empty());
    })
    .await;
}

fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

#[tokio::test]
async fn s31_the_same_id_twice_is_refused() {
    each("S31", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let (_, message, _) = refused(soon(node.driver.start(&task.config)).await);
        assert!(message.contains(&format!("task with ID {:?} already started", task.id())), "{message}");
        assert!(task.runs().await);
    })
    .await;
}

#[tokio::test]
async fn s32_what_another_try_cannot_mend_is_not_called_recoverable() {
    each("S32", async |node| {
        let requests = [Request::of(Program::idle()).user("alice"), {
            let python = node.subject.flavour == Flavour::Python;
            let name = if python { "interpreter" } else { "command" };
            let code = if python { "\ncode = \"1\"" } else { "" };
            Request::of(Program::config(format!("{name} = \"/no/such/program\"{code}")))
        }];
        for request in requests {
            let (_, why, recoverable) = refused(node.try_run(request).await);
            assert!(!recoverable, "{why}");
        }
    })
    .await;
}

#[tokio::test]
async fn s40_something_else_in_the_place_of_a_log_pipe_is_refused() {
    of_yurt("S40", "it follows the link", async |node| {
        let target = node.dir().join("secret");
        fs::write(&target, "untouched").unwrap();
        type Put = fn(&std::path::Path, &std::path::Path);
        let link: Put = |at, target| std::os::unix::fs::symlink(target, at).unwrap();
        let file: Put = |at, _| fs::write(at, "").unwrap();
        let dangling: Put = |at, target| std::os::unix::fs::symlink(target.with_extension("not"), at).unwrap();
        for (put, both) in [(link, true), (file, false), (dangling, false)] {
            let site = node.site(false);
            let config = node.task_config(&site, &Request::of(Program::shell("echo written")));
            let path = std::path::Path::new(if both { &config.stdout_path } else { &config.stderr_path });
            fs::remove_file(path).unwrap();
            put(path, &target);
            let (_, why, _) = refused(node.start_at(&site, config.clone()).await);
            assert!(why.contains(path.to_str().unwrap()), "{why}");
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
        nothing_came_of_it(node).await;
    })
    .await;
}

#[tokio::test]
async fn s40_logs_may_be_thrown_away() {
    each("S40", async |node| {
        let site = node.site(false);
        let mut config = node.task_config(&site, &Request::of(Program::shell("echo lost; echo lost >&2; exit 5")));
        (config.stdout_path, config.stderr_path) = ("/dev/null".into(), "/dev/null".into());
        let task = node.start_at(&site, config).await.unwrap();
        assert_eq!(task.exit().await, ExitResult::code(5));
    })
    .await;
}
