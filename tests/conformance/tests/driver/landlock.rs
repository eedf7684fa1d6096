//! StartTask with Landlock: what of the host's files a task can use, and who it is.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use yurt_conformance::driver::{
    Flavour, Isolation, Node, Program, Request, Task, namespace, put_program, refused, with,
};

/// A task that idles, of a user that the agent invents.
async fn idle(node: &mut Node) -> Task {
    let task = node.run(Program::idle()).await;
    task.ready().await;
    task
}

/// Whether each of these commands succeeds in the task.
async fn can(task: &Task, commands: &[&str]) -> Vec<bool> {
    let mut all = Vec::new();
    for command in commands {
        all.push(task.exec(&["/bin/sh", "-c", command]).await.exit.code == 0);
    }
    all
}

#[tokio::test]
async fn s33_the_host_s_programs_run_and_its_files_are_read_where_the_operator_says() {
    with(Isolation::Landlock, "S33", async |node| {
        let elsewhere = node.dir().join("elsewhere");
        fs::write(&elsewhere, "x").unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o666)).unwrap();
        let there = elsewhere.display();
        let task = idle(node).await;
        let granted =
            ["cat /etc/hostname", "ls /usr/bin", "echo x > /dev/null", "head -c 1 /dev/urandom", "/usr/bin/env true"];
        assert_eq!(can(&task, &granted).await, [true; 5]);
        let (read, write, list) =
            (format!("cat {there}"), format!("echo y > {there}"), format!("ls {}", node.dir().display()));
        let cut = format!(": > {there}");
        let refused = [
            &read,
            &write,
            &cut,
            &list,
            "echo x > /tmp/yurt-not",
            "ls /root",
            "ls /",
            "cat /proc/sys/kernel/core_pattern > /etc/x",
        ];
        assert_eq!(can(&task, &refused).await, [false; 8]);
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "x");
        // In a command and in the task itself.
        let task = node.run(Program::shell(format!("{read} || echo refused"))).await;
        task.stdout().says("refused\n").await;
    })
    .await;
}

#[tokio::test]
async fn s33_the_task_s_own_directories_are_its_to_use_and_those_of_others_are_not() {
    with(Isolation::Landlock, "S33", async |node| {
        let other = idle(node).await;
        other.sh("echo secret > $NOMAD_SECRETS_DIR/token; echo mine > $NOMAD_TASK_DIR/file; echo shared > $NOMAD_ALLOC_DIR/data/file").await;
        let task = idle(node).await;
        let own = [
            "echo x > $NOMAD_TASK_DIR/a && mv $NOMAD_TASK_DIR/a $NOMAD_ALLOC_DIR/data/b && rm $NOMAD_ALLOC_DIR/data/b",
            "echo x > $NOMAD_SECRETS_DIR/a && cat $NOMAD_SECRETS_DIR/a",
            "mkdir $TMPDIR/d && cd $TMPDIR/d && mktemp && [ $TMPDIR = $(dirname $NOMAD_TASK_DIR)/tmp ]",
            "cp /bin/true $NOMAD_TASK_DIR/program && $NOMAD_TASK_DIR/program",
            "ln -s file $NOMAD_TASK_DIR/link && mkfifo $NOMAD_TASK_DIR/fifo",
        ];
        assert_eq!(can(&task, &own).await, [true; 5]);
        for dir in [other.site.task_dir(), other.site.alloc_dir.join("alloc"), other.site.own_dir(), other.site.own_dir().join("secrets")] {
            let file = if dir.ends_with("secrets") { "token" } else { "local/file" };
            let at = dir.join(file).display().to_string();
            let tries = [format!("cat {at}"), format!("ls {}", dir.display()), format!("echo x > {}/new", dir.display())];
            assert_eq!(can(&task, &tries.iter().map(String::as_str).collect::<Vec<_>>()).await, [false; 3], "{at}");
        }
        // What an agent keeps for itself.
        fs::write(task.site.task_dir().join("private/token"), "x").unwrap();
        for dir in [task.site.task_dir(), task.site.own_dir()] {
            assert_eq!(can(&task, &[&format!("cat {}/private/token", dir.display())]).await, [false]);
        }
    })
    .await;
}

#[tokio::test]
async fn s33_paths_that_a_task_puts_elsewhere_widen_nothing() {
    with(Isolation::Landlock, "S33", async |node| {
        let task = idle(node).await;
        // Rules are about what stood there at the start, also for commands that come later.
        task.sh("mv $NOMAD_TASK_DIR $NOMAD_TASK_DIR.old && ln -s / $NOMAD_TASK_DIR").await;
        assert_eq!(
            can(&task, &["ls $NOMAD_TASK_DIR/root", "ls /root", "ls $NOMAD_TASK_DIR.old"]).await,
            [false, false, true]
        );
        // And what a job says of its directories is not believed.
        let task = node
            .run(Request::of(Program::idle()).env("NOMAD_TASK_DIR", "/root/local").env("NOMAD_ALLOC_DIR", "/var"))
            .await;
        task.ready().await;
        assert_eq!(can(&task, &["ls /root", "ls /var"]).await, [false; 2]);
    })
    .await;
}

#[tokio::test]
async fn s33_who_a_task_is_and_what_it_sees_of_others() {
    with(Isolation::Landlock, "S33", async |node| {
        let task = idle(node).await;
        let who = "id -u; id -g; id -G; echo $USER $HOME; ls /proc | grep -c '^[0-9]'; ls -A /dev/shm | wc -l; echo x > /dev/shm/x";
        let said = task.sh(who).await;
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..4], ["80123", "80123", "80123", "nomad-80123 /nonexistent"], "{said}");
        assert!(lines[4].parse::<u32>().unwrap() <= 6 && lines[5] == "0", "{said}");
        for kind in ["pid", "ipc", "mnt"] {
            assert_ne!(namespace(task.pid().await, kind), namespace(std::process::id(), kind), "{kind}");
        }
        for (user, uid) in [("nobody", "65534"), ("nomad-70007", "70007")] {
            let task = node.run(Request::of(Program::shell("id -u; cat /etc/hostname > /dev/null && echo reads")).user(user)).await;
            task.stdout().says(&format!("{uid}\nreads\n")).await;
        }
        // The host's user of that number, or the host's files as root without a grant.
        for (user, word) in [("nomad-0", "the host's user root"), ("root", "yurt.grants.root_without_isolation")] {
            let (_, why, _) = refused(node.try_run(Request::of(Program::idle()).user(user)).await);
            assert!(why.contains(word), "{why}");
        }
    })
    .await;
}

#[tokio::test]
async fn s33_the_operator_s_list_is_all_there_is() {
    with(Isolation::Landlock, "S33", async |node| {
        let tools = node.dir().join("tools");
        fs::create_dir(&tools).unwrap();
        put_program(&tools.join("hello"), "#!/bin/sh\necho hello\n");
        let list = "\"rx:/bin\", \"rx:/usr\", \"rx:/lib\", \"rx:/lib64\", \"r:/etc/ld.so.cache\", \"rw:/dev/null\", \"r:/nowhere\"";
        let config = format!("yurt {{\nisolation = \"landlock\"\nunveil = [{list}, \"x:{0}\", \"r:{0}/hello\"]\n}}", tools.display());
        node.configure(&config).await.unwrap();
        let task = idle(node).await;
        let hello = format!("{}/hello", tools.display());
        let list = format!("ls {}", tools.display());
        assert_eq!(can(&task, &[&hello, &list, "cat /etc/hostname", "ls /proc", "ls /dev/shm"]).await, [true, false, false, false, false]);
    })
    .await;
}

#[tokio::test]
async fn s33_root_with_a_grant_makes_no_device_and_changes_no_file_of_the_host() {
    with(Isolation::Landlock, "S33", async |node| {
        node.configure("yurt {\nisolation = \"landlock\"\ngrants {\nroot_without_isolation = true\n}\n}")
            .await
            .unwrap();
        let task = node.run(Request::of(Program::idle()).user("root")).await;
        task.ready().await;
        let tries = [
            "echo x > /etc/yurt-not",
            "mknod $NOMAD_TASK_DIR/disk b 8 0",
            "mknod $NOMAD_TASK_DIR/kmsg c 1 11",
            "echo x > /proc/sys/kernel/core_pattern",
            "ls /root",
            "mount --bind /root $NOMAD_TASK_DIR",
            "chroot / /bin/ls /root",
        ];
        assert_eq!(can(&task, &tries).await, [false; 7]);
        assert!(!Path::new("/etc/yurt-not").exists());
    })
    .await;
}

#[tokio::test]
async fn s33_a_job_gets_what_it_asks_for_within_the_operator_s_grants() {
    with(Isolation::Landlock, "S33", async |node| {
        if node.subject.flavour != Flavour::YurtExec {
            return;
        }
        let shared = node.dir().join("shared");
        fs::create_dir_all(shared.join("below")).unwrap();
        fs::set_permissions(shared.join("below"), fs::Permissions::from_mode(0o777)).unwrap();
        symlink("/root", shared.join("below/link")).unwrap();
        let config =
            format!("yurt {{\nisolation = \"landlock\"\ngrants {{\nunveil = [\"rwc:{}\"]\n}}\n}}", shared.display());
        node.configure(&config).await.unwrap();
        let job = |node: &Node, paths: &str| {
            Program::config(format!("{}unveil = [{paths}]\n", node.subject.job_config(&Program::idle())))
        };
        let below = format!("\"rwc:{}/below\"", shared.display());
        let task = node.run(job(node, &below)).await;
        task.ready().await;
        let (inside, outside) = (format!("echo x > {}/below/x", shared.display()), format!("ls {}", shared.display()));
        assert_eq!(can(&task, &[&inside, &outside]).await, [true, false]);
        for (paths, word) in [
            ("\"r:/root\"".to_owned(), "yurt.grants.unveil does not name it"),
            (format!("\"rx:{}/below\"", shared.display()), "yurt.grants.unveil does not name it"),
            (format!("\"r:{}/nothing\"", shared.display()), "No such file"),
            (format!("\"r:{}/below/link\"", shared.display()), "symbolic links"),
        ] {
            let (_, why, _) = refused(node.try_run(job(node, &paths)).await);
            assert!(why.contains(word), "{why}");
        }
    })
    .await;
}
