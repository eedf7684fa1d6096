//! The templates of task drivers: from `yurt guest new` to a plan.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{anyhow, bail, ensure};
use yurt_guest::driver::{DriverHealth, Finding, Found, Look, Next, Program, TaskView};
use yurt_guest::{DriverTrial, Options, Runtime, Source};

use crate::Yurt;

const CONFIG: &str = r#"{"interpreter":"sh"}"#;
const TASK: &str = r#"{"script":"local/run.sh","args":["-v"]}"#;

/// Makes, builds, checks and asks one.
pub(crate) fn plans(yurt: &Yurt, language: &str, empty: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(empty)?;
    let made = Command::new(&yurt.0)
        .args(["guest", "new", "acme-driver", "--kind", "driver", "--lang", language])
        .current_dir(empty)
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let folder = empty.join("acme-driver");
    let component = folder.join("acme-driver.wasm");
    yurt.build(&folder, &component)?;
    let checked = yurt.run("check", &[&folder])?;
    ensure!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let asked = yurt.inspect(&component)?;
    let grant = asked.get("grant").and_then(|grant| grant.as_str()).unwrap_or_default();
    ensure!(grant.contains(r#"programs = ["acme-driver*", "sh"]"#), "it looks for sh by default: {asked:#}");
    if language == "rust" {
        let tested = Command::new("cargo").args(["test", "--quiet", "--locked"]).current_dir(&folder).output()?;
        ensure!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
    }

    let runtime = Runtime::new(Options::default()).map_err(|why| anyhow!("{why}"))?;
    let loaded = runtime.open(&Source::File(component)).map_err(|why| anyhow!("{why}"))?;
    let driver =
        loaded.activate_driver(&DriverTrial { config: CONFIG, task: Some(TASK) }).map_err(|why| anyhow!("{why}"))?;
    let wrong = driver.check_task(CONFIG, r#"{"script":"","args":null}"#, &[])?;
    ensure!(wrong.len() == 1 && wrong.iter().all(|finding| finding.path == "script"), "{wrong:?}");

    let probes = driver.probes(CONFIG)?;
    let looks: Vec<&Look> = probes.iter().map(|probe| &probe.look).collect();
    ensure!(looks == [&Look::Programs("sh".into())], "{looks:?}");
    let found = |paths: &[&str]| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        vec![Finding { id: "interpreter".into(), outcome: Ok(Found::Paths(paths)) }]
    };
    ensure!(driver.judge(CONFIG, &found(&[]))?.health == DriverHealth::Undetected, "nothing was found");
    ensure!(driver.judge(CONFIG, &found(&["/bin/sh"]))?.health == DriverHealth::Healthy, "sh was found");
    match driver.plan(CONFIG, TASK, &view(), &found(&["/bin/sh"]))? {
        Ok(Next::Launch(plan)) => {
            let want = ["/bin/sh", "local/run.sh", "-v"].map(str::to_owned).to_vec();
            ensure!(plan.program == Program::Native(want), "{:?}", plan.program);
        }
        other => bail!("no launch was planned: {other:?}"),
    }
    let refused = driver.plan(CONFIG, TASK, &view(), &found(&[]))?;
    ensure!(refused.as_ref().is_err_and(|why| why.message.contains("sh")), "{refused:?}");
    println!("✓ a task driver's template plans a launch");
    Ok(())
}

fn view() -> TaskView {
    TaskView {
        id: "8d1bc1b2/server/5f0c7d1e".into(),
        alloc_id: "8d1bc1b2".into(),
        task_name: "server".into(),
        group_name: "demo".into(),
        job_name: "demo".into(),
        job_id: "demo".into(),
        namespace: "default".into(),
        node_name: "node".into(),
        node_id: "5b7f0d6c".into(),
        user: String::new(),
        env_names: Vec::new(),
        alloc_dir: "/alloc".into(),
        local_dir: "/local".into(),
        secrets_dir: "/secrets".into(),
        memory_mb: 128,
        memory_max_mb: None,
        cpu_shares: 512,
        cores: Vec::new(),
        ports: Vec::new(),
        devices: Vec::new(),
    }
}
