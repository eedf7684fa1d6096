use yurt_sdk::driver::Program;
use yurt_sdk::json::{Value, from_str, json};
use yurt_sdk::testing::driver::{self as testing, Machine, view};

use super::*;

const JAVA: &str = "/usr/lib/jvm/java-17/bin/java";
const SAYS: &str = "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)\nOpenJDK 64-Bit Server VM (build 17.0.15+6, mixed mode)\n";
const CONFIG: &str = r#"{"default_pid_mode":"private","default_ipc_mode":"private","allow_caps":["chown"]}"#;

/// A node, or a root, with Debian's Java.
fn machine() -> Machine {
    Machine::default().link("/usr/bin/java", JAVA).says(JAVA, &["-Xmx16m", "-XX:+UseSerialGC", "-version"], 0, "", SAYS)
}

/// What the schema makes of a job's block: defaults filled in.
fn task(written: &str) -> String {
    let mut all = json!({
        "class": "", "class_path": "", "jar_path": "", "jvm_options": [], "args": [],
        "pid_mode": "", "ipc_mode": "", "cap_add": [], "cap_drop": [], "seccomp": "", "work_dir": "",
        "userns_mode": "", "cgroupns_mode": "", "timens_mode": "",
    });
    let Value::Object(written) = from_str(written).unwrap() else { panic!("an object expected") };
    all.as_object_mut().unwrap().extend(written);
    all.to_string()
}

fn said(written: &str) -> Vec<String> {
    let line = |said: Diagnostic| format!("{}: {}", said.path, said.message);
    testing::check_task::<Java>(CONFIG, &task(written), &[]).into_iter().map(line).collect()
}

fn planned(written: &str, node: &Machine, root: &Machine) -> Result<LaunchPlan, PlanError> {
    testing::plan::<Java>(CONFIG, &task(written), &view(), node, root)
}

fn words(written: &str) -> String {
    let Program::Native(words) = planned(written, &machine(), &machine()).unwrap().program else {
        panic!("a native program expected")
    };
    words.join(" ").replace(JAVA, "java")
}

#[test]
fn the_command_line_is_in_nomad_s_order() {
    for (written, want) in [
        (r#"{"jar_path":"local/app.jar"}"#, "java -jar local/app.jar"),
        (r#"{"class":"Hello","args":["a","b"]}"#, "java Hello a b"),
        (
            r#"{"jvm_options":["-Xmx64m","-ea"],"class_path":"/local:/alloc/lib.jar","class":"org.example.Hello","args":["-x"]}"#,
            "java -Xmx64m -ea -cp /local:/alloc/lib.jar org.example.Hello -x",
        ),
        (r#"{"class_path":"/c","jar_path":"/a.jar","class":"C"}"#, "java -cp /c -jar /a.jar C"),
    ] {
        assert_eq!(words(written), want);
    }
}

#[test]
fn a_class_or_a_jar_is_named_and_both_are_pointed_out() {
    assert_eq!(said("{}"), ["jar_path: jar_path or class must be specified"]);
    assert!(said(r#"{"class":"Hello","class_path":"/local"}"#).is_empty());
    let both = testing::check_task::<Java>(CONFIG, &task(r#"{"jar_path":"a.jar","class":"A","class_path":"/c"}"#), &[]);
    assert_eq!(both.iter().map(|said| said.path.as_str()).collect::<Vec<_>>(), ["class", "class_path"]);
    assert!(both.iter().all(|said| said.severity == yurt_sdk::Severity::Warning));
}

#[test]
fn what_is_wrong_is_said_in_nomad_s_words() {
    assert_eq!(
        said(
            r#"{"class":"A","work_dir":"badpath","pid_mode":"other","cap_add":["sys_time"],"cap_drop":["not_valid"]}"#
        ),
        [
            "pid_mode: pid_mode must be \"private\" or \"host\", got \"other\"",
            "cap_drop: cap_drop configured with capabilities not supported by system: not_valid",
            "cap_add: driver does not allow the following capabilities: sys_time",
            "work_dir: work_dir must be an absolute path: badpath",
        ]
    );
    let config = CONFIG.replace("private", "other");
    assert_eq!(testing::check_config::<Java>(&config).len(), 2);
}

#[test]
fn a_task_runs_as_nobody_where_it_is_told_to() {
    let plan =
        planned(r#"{"class":"A","work_dir":"/local","ipc_mode":"host","seccomp":"strict"}"#, &machine(), &machine())
            .unwrap();
    assert_eq!((plan.user.as_deref(), plan.work_dir.as_deref()), (Some("nobody"), Some("/local")));
    assert_eq!(plan.wishes.ipc, yurt_sdk::driver::Sharing::Host);
    assert_eq!(plan.wishes.seccomp.as_deref(), Some("strict"));
    let plan = planned(r#"{"class":"A","timens_mode":"private"}"#, &machine(), &machine()).unwrap();
    assert_eq!(plan.wishes.time, yurt_sdk::driver::Sharing::Private);
    // SIGQUIT makes the virtual machine print its threads: it goes there as every signal does.
    assert!(plan.signals.is_empty() && plan.stop.is_empty());
}

#[test]
fn a_plan_says_nothing_of_commands_which_are_the_host_s() {
    let plan = planned(r#"{"jar_path":"app.jar"}"#, &machine(), &machine()).unwrap();
    assert!(plan.exec_prefix.is_empty());
}

#[test]
fn a_node_tells_version_runtime_and_virtual_machine() {
    let judged = testing::judge::<Java>(CONFIG, &machine());
    assert_eq!(
        (judged.health, judged.reason.as_str()),
        (DriverHealth::Healthy, "Java 17.0.15 at /usr/lib/jvm/java-17/bin/java")
    );
    assert_eq!(
        judged.attributes,
        [
            attribute::flag("driver.yurt-java", true),
            attribute::text("driver.yurt-java.version", "17.0.15"),
            attribute::text("driver.yurt-java.runtime", "OpenJDK Runtime Environment (build 17.0.15+6)"),
            attribute::text("driver.yurt-java.vm", "OpenJDK 64-Bit Server VM (build 17.0.15+6, mixed mode)"),
        ]
    );
    let odd = Machine::default().says("/usr/bin/java", &[], 0, "hello\n", "");
    let judged = testing::judge::<Java>(CONFIG, &odd);
    assert_eq!((judged.health, judged.attributes.len()), (DriverHealth::Healthy, 1));
}

#[test]
fn a_node_without_a_java_that_works_says_why() {
    for (node, health, word, again) in [
        (Machine::default(), DriverHealth::Undetected, "not found", false),
        (
            Machine::default().says("/usr/bin/java", &[], 127, "", "no libjvm\n"),
            DriverHealth::Undetected,
            "no libjvm",
            false,
        ),
        (Machine::default().hangs("/usr/bin/java"), DriverHealth::Unhealthy, "did not end", true),
    ] {
        let judged = testing::judge::<Java>(CONFIG, &node);
        assert_eq!(judged.health, health);
        assert!(judged.reason.contains(word), "{}", judged.reason);
        let why = planned(r#"{"class":"A"}"#, &node, &machine()).unwrap_err();
        assert!(why.message.contains(word) && why.recoverable == again, "{why:?}");
    }
}

#[test]
fn a_root_without_the_node_s_java_is_named_before_anything_runs() {
    let why = planned(r#"{"class":"A"}"#, &machine(), &Machine::default()).unwrap_err();
    assert_eq!(
        why.message,
        "the node's Java cannot be run: the task has no /usr/lib/jvm/java-17/bin/java; a root of its own holds what the client's chroot_env says"
    );
}

#[test]
fn the_schemas_declare_exactly_the_keys_that_are_read() {
    let read = [(include_str!("config.hcldec"), CONFIG.to_owned()), (include_str!("task.hcldec"), task("{}"))];
    for (schema, defaults) in read {
        let key = |line: &'static str| line.strip_prefix("  default \"")?.strip_suffix("\" {");
        let mut declared: Vec<&str> = schema.lines().filter_map(key).collect();
        let Value::Object(read) = from_str(&defaults).unwrap() else { panic!("an object expected") };
        let mut read: Vec<&str> = read.keys().map(String::as_str).collect();
        declared.sort_unstable();
        read.sort_unstable();
        assert_eq!(declared, read);
    }
}
