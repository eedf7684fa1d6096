"""Runs scripts by the interpreter that the operator names."""

from componentize_py_types import Err, Ok
from wit_world.exports.driver import (
    Capabilities,
    DriverDescription,
    DriverHealth,
    ExitNote,
    Fingerprint,
    Found_Paths,
    Isolation,
    LaunchPlan,
    Look_Programs,
    Next_Launch,
    PlanError,
    Probe,
    Program_Native,
    Sharing,
    Trouble_Absent,
    Wishes,
)
from wit_world.imports.common import Attribute, Description, Diagnostic, Severity, Value_Flag, Value_Text

from yurt import task_driver

CONFIG_SPEC = """
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
"""

TASK_SPEC = """
object {
  attr "script" {
    type     = string
    required = true
  }
  attr "args" {
    type = list(string)
  }
}
"""

WISHES = Wishes(
    pid=Sharing.PRIVATE,
    ipc=Sharing.PRIVATE,
    uts=Sharing.HOST,
    user=Sharing.HOST,
    cgroup=Sharing.HOST,
    time=Sharing.HOST,
    init=True,
    caps_add=[],
    caps_drop=[],
    limits=[],
    seccomp=None,
    read_only_root=False,
    mounts=[],
    cgroups=[],
    deny_uids=[],
    deny_gids=[],
)


@task_driver
class Driver:
    def describe(self):
        return DriverDescription(
            about=Description("shelf", "0.1.0", "Runs scripts by the interpreter that the operator names.", CONFIG_SPEC),
            task_spec=TASK_SPEC,
            capabilities=Capabilities(
                isolation=Isolation.CHROOT,
                signals=True,
                exec=True,
                host_network=True,
                group_network=True,
                mounts=True,
                dynamic_users=False,
            ),
        )

    def check_config(self, config):
        return []

    def check_task(self, config, task, unknown):
        if task["script"] or "script" in unknown:
            return []
        hint = 'a path in the task, as "local/run.sh"'
        return [Diagnostic(Severity.ERROR, "script", "there is nothing to run", hint)]

    def probes(self, config):
        return [Probe("interpreter", Look_Programs(config["interpreter"]))]

    def judge(self, config, findings):
        path, health, reason = interpreter(config, findings)
        if path is None:
            return Fingerprint(health, reason, [])
        attributes = [
            Attribute("driver.shelf", Value_Flag(True), None),
            Attribute("driver.shelf.interpreter", Value_Text(path), None),
        ]
        return Fingerprint(DriverHealth.HEALTHY, f"scripts are run by {path}", attributes)

    def plan(self, config, task, view, findings):
        path, _, reason = interpreter(config, findings)
        if path is None:
            raise Err(PlanError(reason, path=None, recoverable=True))
        if not task["script"]:
            raise Err(PlanError("there is nothing to run", path="script", recoverable=False))
        return Next_Launch(
            LaunchPlan(
                program=Program_Native([path, task["script"], *(task["args"] or [])]),
                env=[],
                env_drop=[],
                work_dir=None,
                user="nobody",
                prepare=[],
                wishes=WISHES,
                signals=[],
                stop=[],
                exec_prefix=[],
                exit_notes=[ExitNote(127, "a command of the script was not found")],
                note=None,
            )
        )


def interpreter(config, findings):
    """The first program of the configured name; or none, what that makes of the driver, and why."""
    name = config["interpreter"]
    for finding in findings:
        match finding.outcome:
            case Ok(Found_Paths([first, *_])):
                return first, None, None
            case Err(Trouble_Absent(why)):
                return None, DriverHealth.UNDETECTED, f"{name}: {why}"
            case Err(trouble):
                return None, DriverHealth.UNHEALTHY, f"{name}: {trouble.value}"
    return None, DriverHealth.UNDETECTED, f"{name} is not on this node, or yurt.grants.programs does not name it"
