"""What a policy needs beside the generated bindings: configuration and memory as Python values, the log, errors that say where.

    @usb_policy
    class UsbPolicy: ...

    @task_driver
    class Driver: ...

An exception becomes the contract's error, `KeyError: 'vendor' (policy.py:27, in group)`. Functions that have no error to answer with,
`describe` and `check_config` among them, say it in the log, and the call fails.

Whatever a policy imports must be imported at the top of a module: at run time there are no files.
"""

import functools
import json

from componentize_py_types import Err
from wit_world.imports import log
from wit_world.imports.log import Level

try:
    from wit_world.exports.driver import PlanError
except ImportError:  # the world of a USB policy
    PlanError = None


def info(text: str) -> None:
    log.write(Level.INFO, text)


def warn(text: str) -> None:
    log.write(Level.WARN, text)


def usb_policy(policy):
    """Wraps the five functions of the world `usb-plugin`."""

    def group(function):
        return lambda self, config, facts, memory: _remembering(function(self, json.loads(config), facts, _recalled(memory)))

    _wrap(policy, "describe", _logged)
    _wrap(policy, "check_config", _configured, _logged)
    _wrap(policy, "group", group, _answered)
    _wrap(policy, "reserve", _configured, _answered)
    _wrap(policy, "stats", _configured, _answered)
    return policy


def task_driver(driver):
    """Wraps the six functions of the world `driver-plugin`."""

    def with_task(function):
        return lambda self, config, task, *rest: function(self, json.loads(config), json.loads(task), *rest)

    def planned(function):
        return _answered(function, lambda text: PlanError(text, path=None, recoverable=False))

    _wrap(driver, "describe", _logged)
    for name in ("check_config", "probes", "judge"):
        _wrap(driver, name, _configured, _logged)
    _wrap(driver, "check_task", with_task, _logged)
    _wrap(driver, "plan", with_task, planned)
    return driver


def _wrap(guest, name, *layers):
    """The first layer is the innermost."""
    function = getattr(guest, name)
    wrapped = functools.reduce(lambda inner, layer: layer(inner), layers, function)
    setattr(guest, name, functools.wraps(function)(wrapped))


def _configured(function):
    return lambda self, config, *rest: function(self, json.loads(config), *rest)


def _answered(function, as_error=lambda text: text):
    def call(*arguments):
        try:
            return function(*arguments)
        except Err:
            raise
        except Exception as problem:
            raise Err(as_error(_said(problem))) from None

    return call


def _logged(function):
    def call(*arguments):
        try:
            return function(*arguments)
        except Exception as problem:
            log.write(Level.ERROR, _said(problem))
            raise

    return call


def _said(problem: Exception) -> str:
    place = problem.__traceback__
    while place.tb_next:
        place = place.tb_next
    code = place.tb_frame.f_code
    file = code.co_filename.rpartition("/")[2]
    return f"{type(problem).__name__}: {problem} ({file}:{place.tb_lineno}, in {code.co_name})"


def _recalled(memory: str | None):
    """Memory may come from another version of the policy: what cannot be read counts as none."""
    try:
        return None if memory is None else json.loads(memory)
    except ValueError:
        warn("memory of another version is left behind")
        return None


def _remembering(offer):
    if offer.memory is not None:
        offer.memory = json.dumps(offer.memory)
    return offer
