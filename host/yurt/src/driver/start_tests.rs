use serde_json::json;
use yurt_nomad::driver::{Core, Dns, Env, HostsEntry, LinuxResources, NetworkIsolation, Resources};

use super::*;

fn task() -> TaskConfig {
    let env = [("TOKEN", "s3cret"), ("HOME", "/job/home"), ("LD_PRELOAD", "x.so")];
    TaskConfig {
        id: "a1/web/0011".into(),
        name: "web".into(),
        alloc_id: "a1".into(),
        alloc_dir: "/srv/alloc/a1".into(),
        env: Env(env.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        ..TaskConfig::default()
    }
}

fn clamped() -> Clamped {
    Clamped {
        argv: vec!["python3".into()],
        component: None,
        prepare: Vec::new(),
        env: Vec::new(),
        env_drop: Vec::new(),
        work_dir: None,
        user: None,
        private_pid: true,
        private_ipc: true,
        private_uts: true,
        private_user: false,
        private_cgroup: false,
        private_time: false,
        init: true,
        read_only_root: false,
        unveil: Vec::new(),
        bounding: super::super::caps::Caps::nomad(),
        limits: Limits::default(),
        asked_limits: Vec::new(),
        seccomp: None,
        elsewhere: Vec::new(),
        denied: Default::default(),
        signals: Vec::new(),
        stop: Vec::new(),
        exec_prefix: Vec::new(),
        exit_notes: Vec::new(),
        note: None,
    }
}

fn alice() -> Who {
    let capabilities = Capabilities { bounding: 0, ambient: 0 };
    let identity = Identity { uid: 1000, gid: 1000, groups: vec![], capabilities, no_new_privileges: true };
    Who { identity, name: "alice".into(), home: "/home/alice".into() }
}

fn value<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn the_same_request_is_known_again_and_any_other_is_not() {
    let digest = |task: &TaskConfig, config: &Value| request_digest(task, config);
    let (base, config) = (task(), json!({"script": "a.py"}));
    assert_eq!(digest(&base, &config), digest(&task(), &config));
    let mut others = vec![digest(&base, &json!({"script": "b.py"}))];
    for change in [
        |task: &mut TaskConfig| task.id.push('x'),
        |task: &mut TaskConfig| task.user = Some("root".into()),
        |task: &mut TaskConfig| task.resources.memory_mb = 9,
        |task: &mut TaskConfig| drop(task.env.0.insert("TOKEN".into(), "other".into())),
        |task: &mut TaskConfig| task.stdout_path.push('x'),
    ] {
        let mut changed = task();
        change(&mut changed);
        others.push(digest(&changed, &config));
    }
    assert!(others.iter().all(|other| *other != digest(&base, &config)));
}

#[test]
fn the_task_has_the_names_of_its_user_unless_the_job_says_otherwise() {
    let env = environment(&task(), &clamped(), Some(&alice()), &[], Isolation::Chroot);
    assert_eq!((value(&env, "USER"), value(&env, "LOGNAME")), (Some("alice"), Some("alice")));
    assert_eq!(value(&env, "HOME"), Some("/job/home"));
    let mut inherited = task();
    inherited.env.0.insert("HOME".into(), std::env::var("HOME").unwrap_or_default());
    let env = environment(&inherited, &clamped(), Some(&alice()), &[], Isolation::Chroot);
    assert_eq!(value(&env, "HOME"), Some("/home/alice"));
}

#[test]
fn a_plan_drops_sets_and_copies_variables_and_a_path_is_always_there() {
    let edited = Clamped {
        env_drop: vec!["LD_*".into()],
        env: vec![
            ("PYTHONUNBUFFERED".into(), Source::Text("1".into())),
            ("PASSWORD".into(), Source::SameAs("TOKEN".into())),
            ("NOTHING".into(), Source::SameAs("ABSENT".into())),
            ("PATH".into(), Source::Before("/venv/bin".into(), "PATH".into())),
        ],
        ..clamped()
    };
    let env = environment(&task(), &edited, None, &[], Isolation::Chroot);
    assert_eq!((value(&env, "LD_PRELOAD"), value(&env, "NOTHING")), (None, None));
    assert_eq!((value(&env, "PYTHONUNBUFFERED"), value(&env, "PASSWORD")), (Some("1"), Some("s3cret")));
    assert!(value(&env, "PATH").unwrap().starts_with("/venv/bin:/usr/local/sbin:"));
}

#[test]
fn what_the_operator_denies_is_in_no_environment_under_any_name() {
    let edited = Clamped {
        env: vec![
            ("COPY".into(), Source::SameAs("TOKEN".into())),
            ("TOKEN_2".into(), Source::Text("of the plan".into())),
        ],
        ..clamped()
    };
    let env = environment(&task(), &edited, Some(&alice()), &["TOKEN*".into(), "USER".into()], Isolation::Chroot);
    let names: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["HOME", "LD_PRELOAD", "LOGNAME", "PATH"]);
}

#[test]
fn name_servers_are_the_job_s_and_the_hosts_file_has_the_network_s_name() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let dns = Dns { servers: words(&["1.1.1.1", "9.9.9.9"]), searches: words(&["a.b"]), options: words(&["ndots:2"]) };
    let hosts = Some(HostsEntry { hostname: "web".into(), address: "10.0.0.2".into() });
    let network = NetworkIsolation { hosts, ..NetworkIsolation::default() };
    let files = files(&TaskConfig { dns: Some(dns), network: Some(network), ..task() });
    let text = |target: &str| {
        let file = files.iter().find(|file| file.target == target).unwrap();
        String::from_utf8(file.content.clone()).unwrap()
    };
    assert_eq!(text("/etc/resolv.conf"), "nameserver 1.1.1.1\nnameserver 9.9.9.9\nsearch a.b\noptions ndots:2\n");
    assert!(text("/etc/hosts").ends_with("10.0.0.2 web\n"));
    assert!(!super::files(&task()).iter().any(|file| file.target == "/etc/hosts"));
}

#[test]
fn memory_is_what_is_kept_or_up_to_the_most_or_without_a_limit() {
    let with = |memory_max| {
        let resources = Resources { memory_mb: 128, memory_max, ..Resources::default() };
        let limits = limits(&TaskConfig { resources, ..task() }, Limits::default(), None);
        (limits.memory_max, limits.memory_low)
    };
    let mb = |mb: u64| Some(mb << 20);
    assert_eq!(with(MemoryMax::Reserved), (mb(128), None));
    assert_eq!(with(MemoryMax::Mb(256)), (mb(256), mb(128)));
    assert_eq!(with(MemoryMax::Unlimited), (None, mb(128)));
}

#[test]
fn shares_are_megahertz_until_the_node_has_more_than_the_kernel_takes() {
    let node = |total_mhz| Topology { total_mhz, ..Topology::default() };
    assert_eq!((shares(512, None), shares(0, None)), (Some(512), Some(2)));
    assert_eq!(shares(1, Some(&node(4000))), Some(2));
    assert_eq!(shares(400_000, Some(&node(524_288))), Some(200_000));
    assert_eq!(shares(i64::MAX, Some(&node(1))), Some(SHARES_MAX));
    let core = |base_mhz, guess_mhz| Core { base_mhz, guess_mhz, ..Core::default() };
    assert_eq!(compute(&Topology { cores: vec![core(2000, 0), core(0, 1500)], ..Topology::default() }), 3500);
}

#[test]
fn without_a_group_of_its_own_a_task_is_not_counted() {
    let with = |cgroup: &str| {
        let linux = LinuxResources { cgroup: cgroup.into(), ..LinuxResources::default() };
        cgroup_of(TaskConfig { resources: Resources { linux, ..Resources::default() }, ..task() })
    };
    assert_eq!(with(""), Cgroup::None);
    match with("/sys/fs/cgroup/cpuset/nomad/share") {
        Cgroup::V1 { name, cpuset } => {
            assert_eq!((name, cpuset), ("nomad/a1.web".into(), "/sys/fs/cgroup/cpuset/nomad/share".into()));
        }
        Cgroup::V2(path) => assert_eq!(path, Path::new("/sys/fs/cgroup/cpuset/nomad/share")),
        Cgroup::None => panic!("a group was given"),
    }
}

fn cgroup_of(task: TaskConfig) -> Cgroup {
    cgroup(&task)
}

#[test]
fn a_network_that_the_driver_should_make_is_refused_and_one_of_the_group_is_joined() {
    let with = |mode, path: &str| {
        network(&TaskConfig {
            network: Some(NetworkIsolation { mode, path: path.into(), ..NetworkIsolation::default() }),
            ..task()
        })
    };
    assert_eq!(with(NetworkMode::Group, "/run/netns/a1"), Ok(Some("/run/netns/a1".into())));
    assert!(with(NetworkMode::Task, "").unwrap_err().contains("makes none"));
    assert_eq!(network(&task()), Ok(None));
}

#[test]
fn a_root_that_shows_the_host_has_what_the_agent_does_not_mount_and_hides_what_it_keeps() {
    let memo = Memo::default();
    let made = |block: &DriverConfig, clamped: &Clamped| {
        over_the_host(&task(), root(&task(), clamped, "/srv/alloc/a1/web".into(), &memo).unwrap(), block)
    };
    let made_read_only = made(&DriverConfig::default(), &Clamped { read_only_root: true, ..clamped() }).unwrap();
    assert_eq!(made_read_only.writable.unwrap(), ["/alloc", "/local", "/secrets", "/tmp"]);
    let made_usual = made(&DriverConfig::default(), &clamped()).unwrap();
    let alloc = made_usual.mounts.first().unwrap();
    assert_eq!((alloc.source.as_str(), alloc.target.as_str()), ("/srv/alloc/a1/alloc", "/alloc"));
    assert_eq!((made_usual.hidden, made_usual.writable), (vec!["/private".to_owned()], None));
    let host = made_usual.host.unwrap();
    assert!(host.paths.contains(&"/usr".to_owned()));
    assert_eq!(host.work, Path::new("/srv/alloc/a1/.web.overlay"));
    let block = DriverConfig::from_json(&json!({"host_paths": ["/srv"]})).unwrap();
    let why = made(&block, &clamped()).unwrap_err();
    assert!(why.contains("yurt.host_paths has \"/srv\""), "{why}");
}

#[test]
fn a_task_that_sees_some_of_the_host_has_a_tmp_of_its_own_unless_the_job_says_another() {
    let env = |job: Option<&str>, isolation| {
        let mut task = task();
        task.env.0.extend(job.map(|job| ("TMPDIR".to_owned(), job.to_owned())));
        environment(&task, &clamped(), None, &[], isolation)
    };
    assert_eq!(value(&env(None, Isolation::Landlock), "TMPDIR"), Some("/srv/alloc/a1/web/tmp"));
    assert_eq!(value(&env(Some("/var/x"), Isolation::Landlock), "TMPDIR"), Some("/var/x"));
    assert_eq!(value(&env(None, Isolation::Overlay), "TMPDIR"), None);
}

#[test]
fn rules_are_about_the_agent_s_directories_whatever_the_job_says_of_them() {
    let mut task = task();
    task.env.0.insert("NOMAD_TASK_DIR".to_owned(), "/etc/local".to_owned());
    assert_eq!(unveil::own_dir(&task), Path::new("/srv/alloc/a1/web"));
    let unveiled = unveil::of(&task, &clamped(), &[]);
    let paths: Vec<&str> = unveiled.paths.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["/srv/alloc/a1/web", "/srv/alloc/a1/alloc", "/srv/alloc/a1/web/secrets"]);
    assert!(unveiled.hidden.contains(&"/srv/alloc/a1/web/private".to_owned()));
}
