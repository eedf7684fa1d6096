//! Each field of a plan that asks for more than is granted is refused, by its name and the grant's.

use super::*;

fn plan() -> wit::LaunchPlan {
    wit::LaunchPlan {
        program: wit::Program::Native(vec!["/usr/bin/python3".to_owned(), "server.py".to_owned()]),
        env: Vec::new(),
        env_drop: Vec::new(),
        work_dir: None,
        user: Some("nobody".to_owned()),
        prepare: Vec::new(),
        wishes: wit::Wishes {
            pid: wit::Sharing::Private,
            ipc: wit::Sharing::Private,
            uts: wit::Sharing::Private,
            user: wit::Sharing::Host,
            cgroup: wit::Sharing::Host,
            time: wit::Sharing::Host,
            init: true,
            caps_add: Vec::new(),
            caps_drop: Vec::new(),
            limits: Vec::new(),
            seccomp: None,
            read_only_root: false,
            mounts: Vec::new(),
            cgroups: Vec::new(),
            deny_uids: Vec::new(),
            deny_gids: Vec::new(),
        },
        signals: Vec::new(),
        stop: Vec::new(),
        exec_prefix: Vec::new(),
        exit_notes: Vec::new(),
        note: None,
    }
}

fn grants() -> Grants {
    Grants { users: vec!["nobody".to_owned()], ..Grants::default() }
}

fn clamped(plan: wit::LaunchPlan, grants: &Grants) -> Result<Clamped, String> {
    clamp(plan, grants, Isolation::Chroot, None)
}

/// Refused, with all of `words` in the sentence; allowed by `more`.
fn needs_a_grant(change: impl Fn(&mut wit::LaunchPlan), words: &[&str], more: impl Fn(&mut Grants)) -> Clamped {
    let mut asking = plan();
    change(&mut asking);
    let why = clamped(asking.clone(), &grants()).unwrap_err();
    for word in words {
        assert!(why.contains(word), "{why:?} lacks {word:?}");
    }
    let mut granted = grants();
    more(&mut granted);
    clamped(asking, &granted).unwrap()
}

/// Refused, with all of `words` in the sentence, whatever is granted.
fn never(change: impl Fn(&mut wit::LaunchPlan), words: &[&str]) {
    let mut asking = plan();
    change(&mut asking);
    let everything = Grants {
        users: vec!["nobody".to_owned(), "root".to_owned()],
        root_without_isolation: true,
        capabilities: Caps(u64::MAX),
        limits: limits::names().into_iter().map(str::to_owned).collect(),
        seccomp: vec!["none".to_owned()],
        cgroups: vec!["*".to_owned()],
        share: ["pid", "ipc", "uts"].map(str::to_owned).to_vec(),
        unveil: unveil::list(&["rwxc:/srv".to_owned()]).unwrap(),
        programs: Some(vec!["*".to_owned()]),
        files: vec!["*".to_owned()],
        connect: vec!["any".parse().unwrap()],
    };
    let why = clamped(asking, &everything).unwrap_err();
    for word in words {
        assert!(why.contains(word), "{why:?} lacks {word:?}");
    }
}

#[test]
fn a_modest_plan_passes_with_the_default_capabilities_and_namespaces_of_its_own() {
    let clamped = clamped(plan(), &grants()).unwrap();
    assert_eq!((clamped.user.as_deref(), clamped.bounding), (Some("nobody"), Caps::nomad()));
    assert!(clamped.private_pid && clamped.private_ipc && clamped.private_uts && clamped.init);
}

#[test]
fn a_user_of_the_plan_s_choice_needs_a_grant_and_the_job_s_own_goes_first() {
    let asked = needs_a_grant(
        |plan| plan.user = Some("root".to_owned()),
        &["user", "\"root\"", "yurt.grants.users has nobody"],
        |grants| grants.users.push("root".to_owned()),
    );
    assert_eq!(asked.user.as_deref(), Some("root"));
    let mut asking = plan();
    asking.user = Some("root".to_owned());
    let of_the_job = clamp(asking, &grants(), Isolation::Chroot, Some("www-data")).unwrap();
    assert_eq!(of_the_job.user.as_deref(), Some("www-data"));
}

#[test]
fn each_namespace_of_the_host_needs_a_grant() {
    let pid = needs_a_grant(
        |plan| plan.wishes.pid = wit::Sharing::Host,
        &["wishes.pid", "yurt.grants.share lacks \"pid\""],
        |grants| grants.share.push("pid".to_owned()),
    );
    assert!(!pid.private_pid && !pid.init, "an init without a namespace of its own");
    let ipc = needs_a_grant(
        |plan| plan.wishes.ipc = wit::Sharing::Host,
        &["wishes.ipc", "yurt.grants.share lacks \"ipc\""],
        |grants| grants.share.push("ipc".to_owned()),
    );
    assert!(!ipc.private_ipc && ipc.private_pid);
    let uts = needs_a_grant(
        |plan| plan.wishes.uts = wit::Sharing::Host,
        &["wishes.uts", "yurt.grants.share lacks \"uts\""],
        |grants| grants.share.push("uts".to_owned()),
    );
    assert!(!uts.private_uts);
}

#[test]
fn namespaces_that_take_away_need_no_grant_and_are_refused_where_there_are_none() {
    let names = ["user", "cgroup", "time"];
    for name in names {
        let sharing = |of: &str| if of == name { wit::Sharing::Private } else { wit::Sharing::Host };
        let [user, cgroup, time] = names.map(sharing);
        let mut asking = plan();
        asking.wishes = wit::Wishes { user, cgroup, time, ..asking.wishes };
        for isolation in [Isolation::Chroot, Isolation::Overlay, Isolation::Landlock] {
            let clamped = clamp(asking.clone(), &grants(), isolation, None).unwrap();
            let has = [clamped.private_user, clamped.private_cgroup, clamped.private_time];
            assert_eq!(has, names.map(|one| one == name), "{name}");
        }
        let why = clamp(asking, &grants(), Isolation::None, None).unwrap_err();
        let wanted = format!(
            "the plan's wishes.{name} asks for a {name} namespace of its own, which is not granted: with yurt.isolation = \"none\" tasks have the host's"
        );
        assert_eq!(why, wanted);
    }
}

#[test]
fn without_isolation_there_are_no_namespaces_to_be_had_or_granted() {
    let mut asking = plan();
    asking.wishes.uts = wit::Sharing::Host;
    let clamped = clamp(asking, &grants(), Isolation::None, None).unwrap();
    assert!(!clamped.private_pid && !clamped.private_ipc && !clamped.private_uts && !clamped.init);
}

#[test]
fn capabilities_beyond_the_default_set_need_a_grant_and_are_named_in_order() {
    let asked = needs_a_grant(
        |plan| plan.wishes.caps_add = vec!["sys_time".to_owned(), "CAP_NET_ADMIN".to_owned()],
        &["wishes.caps-add", "net_admin, sys_time", "yurt.grants.capabilities"],
        |grants| grants.capabilities = Caps(1 << 12 | 1 << 25),
    );
    assert_eq!(asked.bounding.0, Caps::nomad().0 | 1 << 12 | 1 << 25);
    let mut fewer = plan();
    fewer.wishes.caps_drop = vec!["all".to_owned()];
    fewer.wishes.caps_add = vec!["net_bind_service".to_owned()];
    assert_eq!(clamped(fewer, &grants()).unwrap().bounding.0, 0x400);
}

#[test]
fn each_limit_needs_a_grant_by_its_name() {
    let limit = |name: &str, value: &str| wit::Limit { name: name.to_owned(), value: value.to_owned() };
    let asked = needs_a_grant(
        |plan| plan.wishes.limits = vec![limit("nofile", "1024:4096"), limit("pids.max", "100")],
        &["wishes.limits", "nofile = 1024:4096", "yurt.grants.limits"],
        |grants| grants.limits = vec!["nofile".to_owned(), "pids.max".to_owned()],
    );
    let [nofile] = asked.limits.resources.as_slice() else { panic!("one limit of processes") };
    assert_eq!((nofile.resource, nofile.soft, nofile.hard, asked.limits.pids_max), (7, 1024, 4096, Some(100)));
    needs_a_grant(
        |plan| plan.wishes.limits = vec![limit("oom_score_adj", "-10")],
        &["wishes.limits", "oom_score_adj = -10", "yurt.grants.limits"],
        |grants| grants.limits = vec!["oom_score_adj".to_owned()],
    );
    // To be the first to go harms nobody else.
    let mut modest = plan();
    modest.wishes.limits = vec![limit("oom_score_adj", "300")];
    assert_eq!(clamped(modest, &grants()).unwrap().limits.oom_score_adj, 300);
    never(|plan| plan.wishes.limits = vec![limit("speed", "9")], &["wishes.limits", "speed"]);
    never(|plan| plan.wishes.limits = vec![limit("nofile", "many")], &["wishes.limits", "nofile", "many"]);
}

#[test]
fn a_control_group_of_somebody_else_s_needs_a_grant_for_its_path() {
    let wish = |controller: Option<&str>, path: &str| {
        vec![wit::CgroupWish { controller: controller.map(str::to_owned), path: path.to_owned() }]
    };
    for (controller, path) in [
        (None, "custom/a"),
        (None, "/custom//./a/"),
        (None, "/sys/fs/cgroup/custom/a"),
        (Some("pids"), "custom/a"),
        (Some("pids"), "/sys/fs/cgroup/pids/custom/a"),
    ] {
        let asked = needs_a_grant(
            |plan| plan.wishes.cgroups = wish(controller, path),
            &["wishes.cgroups", "the control group /custom/a", "yurt.grants.cgroups"],
            |grants| grants.cgroups = vec!["/other".to_owned(), "/custom/*".to_owned()],
        );
        let want = yurt_task::Elsewhere { controller: controller.map(str::to_owned), path: "custom/a".into() };
        assert_eq!(asked.elsewhere, [want], "{path}");
    }
    never(|plan| plan.wishes.cgroups = wish(None, "custom/../nomad.slice"), &["wishes.cgroups", ".."]);
    never(|plan| plan.wishes.cgroups = wish(None, "a\0b"), &["wishes.cgroups"]);
}

#[test]
fn ids_that_a_guest_denies_are_denied() {
    let mut asking = plan();
    asking.wishes.deny_uids = vec![wit::IdRange { first: 5, last: 9 }];
    let denied = clamped(asking, &grants()).unwrap().denied;
    assert!(denied.uids.has(5) && denied.uids.has(9) && !denied.uids.has(10) && !denied.gids.has(5));
}

#[test]
fn what_this_release_cannot_do_is_refused_by_name() {
    never(|plan| plan.program = wit::Program::Component(component()), &["program", "component", "yurt.isolation"]);
    never(|plan| plan.prepare = vec![wit::Step::MakeDir("x".to_owned())], &["prepare[0]", "no absolute path"]);
    let mount = wit::MountWish { name: "cache".to_owned(), task_path: "/c".to_owned(), read_only: true };
    never(move |plan| plan.wishes.mounts = vec![mount.clone()], &["wishes.mounts", "cache"]);
}

#[test]
fn a_read_only_root_takes_a_root_and_no_grant() {
    let mut asking = plan();
    asking.wishes.read_only_root = true;
    for isolation in [Isolation::Chroot, Isolation::Overlay] {
        assert!(clamp(asking.clone(), &grants(), isolation, None).unwrap().read_only_root);
    }
    for isolation in [Isolation::None, Isolation::Landlock] {
        let why = clamp(asking.clone(), &grants(), isolation, None).unwrap_err();
        assert!(why.contains("wishes.read-only-root") && why.contains(isolation.name()), "{why}");
    }
}

#[test]
fn paths_are_unveiled_by_grant_and_where_there_is_something_to_unveil() {
    let mount = |name: &str, path: &str, read_only| wit::MountWish {
        name: name.to_owned(),
        task_path: path.to_owned(),
        read_only,
    };
    let asking = |wish: wit::MountWish, isolation| {
        let mut asking = plan();
        asking.wishes.mounts = vec![wish];
        let granted = Grants { unveil: unveil::list(&["rw:/srv".to_owned()]).unwrap(), ..grants() };
        clamp(asking, &granted, isolation, None)
    };
    let granted = asking(mount("rw:/srv/x", "/srv/x", false), Isolation::Landlock).unwrap().unveil;
    assert_eq!((granted[0].path.as_str(), granted[0].below.as_str()), ("/srv", "x"));
    for (wish, isolation, word) in [
        (mount("r:/etc", "/etc", true), Isolation::Landlock, "yurt.grants.unveil"),
        (mount("rx:/srv", "/srv", true), Isolation::Landlock, "yurt.grants.unveil"),
        (mount("rw:/srv/x", "/srv/y", false), Isolation::Landlock, "contradicts"),
        (mount("rw:/srv/x", "/srv/x", true), Isolation::Landlock, "contradicts"),
        (mount("cache", "/srv/x", true), Isolation::Landlock, "no mount of that name"),
        (mount("r:/srv/x", "/srv/x", true), Isolation::Chroot, "yurt.isolation = \"chroot\""),
    ] {
        let why = asking(wish, isolation).unwrap_err();
        assert!(why.contains("wishes.mounts") && why.contains(word), "{why}");
    }
}

fn component() -> wit::ComponentRun {
    wit::ComponentRun { path: "a.wasm".to_owned(), args: vec![], directories: vec![], listen: vec![] }
}

#[test]
fn a_profile_of_system_calls_is_left_to_the_operator_s_and_is_not_for_components() {
    let mut asking = plan();
    asking.wishes.seccomp = Some("strict".to_owned());
    assert_eq!(clamped(asking.clone(), &grants()).unwrap().seccomp.as_deref(), Some("strict"));
    asking.program = wit::Program::Component(wit::ComponentRun { path: "/local/a.wasm".to_owned(), ..component() });
    let why = clamp(asking, &grants(), Isolation::None, None).unwrap_err();
    assert!(why.contains("wishes.seccomp") && why.contains("a component has a filter of its own"), "{why}");
}

#[test]
fn what_no_kernel_would_take_is_refused_before_anything_is_started() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    never(move |plan| plan.program = wit::Program::Native(words(&[])), &["program"]);
    never(move |plan| plan.program = wit::Program::Native(words(&["a", "b\0c"])), &["program", "NUL"]);
    never(|plan| plan.work_dir = Some("local".to_owned()), &["work-dir", "local"]);
    never(move |plan| plan.exec_prefix = words(&[""]), &["exec-prefix"]);
    let edit = |name: &str, text: &str| {
        vec![wit::EnvEdit { name: name.to_owned(), value: wit::EnvSource::Text(text.to_owned()) }]
    };
    never(move |plan| plan.env = edit("A=B", "x"), &["env", "A=B"]);
    never(move |plan| plan.env = edit("A", "x\0"), &["env", "NUL"]);
    let rule = wit::SignalRule { signal: "SIGFOO".to_owned(), action: wit::SignalAction::Main("TERM".to_owned()) };
    never(move |plan| plan.signals = vec![rule.clone()], &["signals", "SIGFOO"]);
    let step = wit::StopStep { action: wit::SignalAction::All("SIGBAR".to_owned()), wait_milliseconds: 1 };
    never(move |plan| plan.stop = vec![step.clone()], &["stop", "SIGBAR"]);
}
