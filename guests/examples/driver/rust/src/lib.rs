//! Runs scripts by the interpreter that the operator names.

use serde::Deserialize;
use yurt_sdk::driver::{
    Capabilities, DriverDescription, DriverHealth, ExitNote, Findings, Fingerprint, Isolation, LaunchPlan, Next,
    PlanError, Probe, TaskView, Trouble, Unknown, Wishes,
};
use yurt_sdk::{Description, Diagnostic, Severity, TaskDriver, attribute};

struct Guest;

const CONFIG_SPEC: &str = r#"
object {
  default "interpreter" {
    attr {
      name = "interpreter"
      type = string
    }
    literal {
      value = "sh"
    }
  }
}
"#;

const TASK_SPEC: &str = r#"
object {
  attr "script" {
    type     = string
    required = true
  }
  attr "args" {
    type = list(string)
  }
}
"#;

#[derive(Deserialize)]
struct Config {
    interpreter: String,
}

#[derive(Deserialize)]
struct Task {
    script: Option<String>,
    args: Option<Vec<String>>,
}

impl TaskDriver for Guest {
    type Config = Config;
    type Task = Task;

    fn describe() -> DriverDescription {
        DriverDescription {
            about: Description {
                name: "shelf".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                summary: "Runs scripts by the interpreter that the operator names.".into(),
                config_spec: CONFIG_SPEC.into(),
            },
            task_spec: TASK_SPEC.into(),
            capabilities: Capabilities {
                isolation: Isolation::Chroot,
                signals: true,
                exec: true,
                host_network: true,
                group_network: true,
                mounts: true,
                dynamic_users: false,
            },
        }
    }

    fn check_task(_: &Config, task: &Task, unknown: Unknown<'_>) -> Vec<Diagnostic> {
        let is_given = task.script.as_deref().is_some_and(|script| !script.is_empty());
        if is_given || unknown.has("script") {
            return Vec::new();
        }
        vec![Diagnostic {
            severity: Severity::Error,
            path: "script".into(),
            message: "there is nothing to run".into(),
            hint: Some("a path in the task, as \"local/run.sh\"".into()),
        }]
    }

    fn probes(config: &Config) -> Vec<Probe> {
        vec![Probe::programs("interpreter", &config.interpreter)]
    }

    fn judge(config: &Config, findings: Findings<'_>) -> Fingerprint {
        match interpreter(config, findings) {
            Ok(path) => Fingerprint {
                health: DriverHealth::Healthy,
                reason: format!("scripts are run by {path}"),
                attributes: vec![
                    attribute::flag("driver.shelf", true),
                    attribute::text("driver.shelf.interpreter", path),
                ],
            },
            Err((health, reason)) => Fingerprint { health, reason, attributes: Vec::new() },
        }
    }

    fn plan(config: &Config, task: &Task, _: &TaskView, findings: Findings<'_>) -> Result<Next, PlanError> {
        let path = interpreter(config, findings).map_err(|(_, reason)| PlanError::new(reason).or_try_again())?;
        let script = task.script.clone().ok_or_else(|| PlanError::new("there is nothing to run").at("script"))?;
        let mut command = vec![path.to_owned(), script];
        command.extend(task.args.clone().unwrap_or_default());
        Ok(Next::Launch(LaunchPlan {
            user: Some("nobody".into()),
            wishes: Wishes { init: true, ..Wishes::none() },
            exit_notes: vec![ExitNote { code: 127, text: "a command of the script was not found".into() }],
            ..LaunchPlan::of(command)
        }))
    }
}

/// The first program of the configured name, or why there is none.
fn interpreter<'a>(config: &Config, findings: Findings<'a>) -> Result<&'a str, (DriverHealth, String)> {
    let name = &config.interpreter;
    match findings.programs("interpreter") {
        Some(Ok([first, ..])) => Ok(first),
        Some(Err(trouble @ (Trouble::Refused(_) | Trouble::Failed(_)))) => {
            Err((DriverHealth::Unhealthy, format!("{name}: {}", trouble.why())))
        }
        Some(Err(Trouble::Absent(why))) => Err((DriverHealth::Undetected, format!("{name}: {why}"))),
        Some(Ok([])) | None => Err((
            DriverHealth::Undetected,
            format!("{name} is not on this node, or yurt.grants.programs does not name it"),
        )),
    }
}

yurt_sdk::task_driver!(Guest);

#[cfg(test)]
mod tests {
    use yurt_sdk::driver::Program;
    use yurt_sdk::testing::driver as testing;

    use super::*;

    #[test]
    fn a_script_is_run_by_the_interpreter_that_the_operator_names() {
        let node = testing::Machine::default().program("/usr/bin/dash");
        let config = r#"{"interpreter": "dash"}"#;
        assert_eq!(testing::judge::<Guest>(config, &node).health, DriverHealth::Healthy);
        let task = r#"{"script": "local/run.sh", "args": ["-v"]}"#;
        let plan = testing::plan::<Guest>(config, task, &testing::view(), &node, &node).unwrap();
        assert_eq!(plan.program, Program::Native(["/usr/bin/dash", "local/run.sh", "-v"].map(String::from).to_vec()));
    }

    #[test]
    fn a_node_without_the_interpreter_does_not_offer_the_driver() {
        let judged = testing::judge::<Guest>(r#"{"interpreter": "zsh"}"#, &testing::Machine::default());
        assert_eq!(judged.health, DriverHealth::Undetected);
    }
}
