"""Gives USB devices the names that rules say: the first rule that matches a device decides its group."""

import re

from componentize_py_types import Err
from wit_world.exports.usb_policy import (
    DeviceGroup,
    EnvValue_NodePath,
    Figure,
    GrantedEnv,
    GroupName,
    Health_Healthy,
    Health_Unhealthy,
    Instance,
    InstanceStats,
    NodeGrant,
    Offer,
    Reservation,
)
from wit_world.imports.common import (
    Attribute,
    Description,
    Diagnostic,
    Severity,
    Value_Flag,
    Value_Integer,
    Value_Number,
    Value_Text,
)
from wit_world.imports.usb import Presence, SerialQuality, UsbDevice

from yurt import info, usb_policy

CONFIG_SPEC = """
object {
  default "vendor_name" {
    attr {
      name = "vendor_name"
      type = string
    }
    literal {
      value = "shelf"
    }
  }
  block_list "rule" {
    object {
      attr "vendor" {
        type     = string
        required = true
      }
      attr "product" {
        type = string
      }
      attr "group" {
        type     = string
        required = true
      }
    }
  }
}
"""

# Exactly four digits, so that a decimal number is never taken for one.
USB_ID = re.compile(r"0x[0-9a-fA-F]{4}")
NAME = re.compile(r"[a-z][a-z0-9-]*")
IN_ID = re.compile(r"[A-Za-z0-9._-]*")


@usb_policy
class UsbPolicy:
    def describe(self):
        return Description("shelf", "0.1.0", "Gives USB devices the names that rules say.", CONFIG_SPEC)

    def check_config(self, config):
        found = []
        if not config["rule"]:
            hint = 'rule { vendor = "0x12f7", group = "stick" }'
            found.append(Diagnostic(Severity.WARNING, "rule", "without a rule nothing is offered", hint))
        for at, rule in enumerate(config["rule"]):
            for key in ("vendor", "product"):
                text = rule[key]
                if text is not None and not USB_ID.fullmatch(text):
                    hint = '0x and four hexadecimal digits, as in "0x12f7"'
                    found.append(Diagnostic(Severity.ERROR, f"rule[{at}].{key}", f'"{text}" is no USB id', hint))
            if not NAME.fullmatch(rule["group"]):
                message = f'"{rule["group"]}" cannot be the name of a group'
                hint = "lower-case letters, digits and -, a letter first"
                found.append(Diagnostic(Severity.ERROR, f"rule[{at}].group", message, hint))
            for earlier, other in enumerate(config["rule"][:at]):
                if other["vendor"] == rule["vendor"] and other["product"] in (None, rule["product"]):
                    message = f"never used: rule[{earlier}] takes the same devices"
                    found.append(Diagnostic(Severity.WARNING, f"rule[{at}]", message, None))
                    break
        return found

    def group(self, config, facts, memory):
        gathered = {}
        ask_again = None
        for device in facts.devices:
            rule = next((rule for rule in config["rule"] if matches(rule, device)), None)
            if rule is None:
                continue
            if device.life.presence == Presence.SETTLING:
                ask_again = 250
                continue
            gathered.setdefault(rule["group"], []).append(device)
        groups = [
            DeviceGroup(GroupName(config["vendor_name"], "usb", name), attributes(devices), [instance(device) for device in devices])
            for name, devices in gathered.items()
        ]

        ids = [instance.id for group in groups for instance in group.instances]
        before = (memory or {}).get("ids", [])
        for id in ids:
            if id not in before:
                info(f"{id} is offered")
        for id in before:
            if id not in ids:
                info(f"{id} is gone")
        return Offer(groups, {"ids": ids}, ask_again)

    def reserve(self, config, facts, group, reserved):
        variable = "YURT_" + group.name.upper().replace("-", "_")
        env, nodes = [], []
        for key in (key for instance in reserved for key in instance.members):
            device = next((device for device in facts.devices if device.key == key), None)
            if device is None:
                raise Err(f"device {key} is not among the facts")
            usbfs = next((at for at, node in enumerate(device.nodes) if node.subsystem == "usb_device"), None)
            if usbfs is None:
                raise Err(f"device {key} has no usbfs node")
            number = len(nodes)
            env.append(GrantedEnv(variable if number == 0 else f"{variable}_{number + 1}", EnvValue_NodePath(number)))
            nodes.append(NodeGrant(key, usbfs, task_path=None, read=True, write=True, mknod=False))
        return Reservation(env, nodes, mounts=[])

    def stats(self, config, counters, offered):
        answer = []
        for instance in offered:
            own = [counter for one in counters if one.key in instance.members for counter in one.counters]
            requests = sum(counter.total for counter in own if counter.name == "urbs")
            summary = Figure("requests", Value_Number(requests), None, "count", "Requests to the device since it was plugged in")
            answer.append(InstanceStats(instance.id, summary, [summary]))
        return answer


def matches(rule: dict, device: UsbDevice) -> bool:
    return (
        not device.is_hub
        and rule["vendor"].lower() == f"0x{device.vendor_id:04x}"
        and (rule["product"] is None or rule["product"].lower() == f"0x{device.product_id:04x}")
    )


def instance(device: UsbDevice) -> Instance:
    reason = trouble(device)
    return Instance(name_of(device), [device.key], None, Health_Unhealthy(reason) if reason else Health_Healthy())


def name_of(device: UsbDevice) -> str:
    """By the serial number where it is the device's own and may stand in an id, else by the place."""
    if device.serial and device.serial_quality == SerialQuality.UNIQUE and IN_ID.fullmatch(device.serial.text):
        return f"sn-{device.serial.text}"
    return f"port-{device.key}"


def trouble(device: UsbDevice) -> str | None:
    """The first reason why a device cannot be used."""
    if device.life.presence == Presence.ABSENT:
        return "unplugged"
    if not device.access.authorised:
        return "not authorised"
    if device.access.over_current:
        return "over-current at its port"
    if device.configuration is None:
        return "not configured"
    if not device.access.openable:
        return "no permission to open it"
    busy = next((node for node in device.nodes if node.in_use), None)
    return f"{busy.path} is in use on this machine" if busy else None


def attributes(devices: list[UsbDevice]) -> list[Attribute]:
    """What a job can ask for, of all devices of a group."""
    vendors = dict.fromkeys(f"0x{device.vendor_id:04x}" for device in devices)
    usb = min(device.usb_release for device in devices)
    milliamps = max((device.configuration.max_milliamps for device in devices if device.configuration), default=0)
    return [
        Attribute("vendors", Value_Text(",".join(vendors)), None),
        Attribute("usb_version", Value_Number(((usb >> 8) * 100 + (usb >> 4 & 15) * 10 + (usb & 15)) / 100), None),
        Attribute("max_power", Value_Integer(milliamps * 5), "mW"),
        Attribute("serials", Value_Flag(all(device.serial for device in devices)), None),
    ]
