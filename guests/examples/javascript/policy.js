// Gives USB devices the names that rules say: the first rule that matches a device decides its group.

import { info, policy } from './yurt.js';

const CONFIG_SPEC = `
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
`;

// Exactly four digits, so that a decimal number is never taken for one.
const USB_ID = /^0x[0-9a-f]{4}$/i;
const NAME = /^[a-z][a-z0-9-]*$/;
const IN_ID = /^[A-Za-z0-9._-]*$/;

export const usbPolicy = policy({
  describe: () => ({
    name: 'shelf',
    version: '0.1.0',
    summary: 'Gives USB devices the names that rules say.',
    configSpec: CONFIG_SPEC,
  }),

  checkConfig({ rule: rules }) {
    const found = [];
    if (rules.length === 0) {
      const hint = 'rule { vendor = "0x12f7", group = "stick" }';
      found.push({ severity: 'warning', path: 'rule', message: 'without a rule nothing is offered', hint });
    }
    rules.forEach((rule, at) => {
      for (const key of ['vendor', 'product']) {
        const text = rule[key];
        if (text !== null && !USB_ID.test(text)) {
          const hint = '0x and four hexadecimal digits, as in "0x12f7"';
          found.push({ severity: 'error', path: `rule[${at}].${key}`, message: `"${text}" is no USB id`, hint });
        }
      }
      if (!NAME.test(rule.group)) {
        const message = `"${rule.group}" cannot be the name of a group`;
        const hint = 'lower-case letters, digits and -, a letter first';
        found.push({ severity: 'error', path: `rule[${at}].group`, message, hint });
      }
      const covers = (earlier) =>
        earlier.vendor === rule.vendor && (earlier.product === null || earlier.product === rule.product);
      const earlier = rules.slice(0, at).findIndex(covers);
      if (earlier >= 0) {
        const message = `never used: rule[${earlier}] takes the same devices`;
        found.push({ severity: 'warning', path: `rule[${at}]`, message });
      }
    });
    return found;
  },

  group(config, facts, memory) {
    const gathered = new Map();
    let askAgainMilliseconds;
    for (const device of facts.devices) {
      const rule = config.rule.find((rule) => matches(rule, device));
      if (!rule) continue;
      if (device.life.presence === 'settling') {
        askAgainMilliseconds = 250;
        continue;
      }
      const devices = gathered.get(rule.group);
      if (devices) devices.push(device);
      else gathered.set(rule.group, [device]);
    }
    const groups = Array.from(gathered, ([name, devices]) => ({
      name: { vendor: config.vendor_name, kind: 'usb', name },
      attributes: attributes(devices),
      instances: devices.map(instance),
    }));

    const ids = groups.flatMap((group) => group.instances.map((instance) => instance.id));
    const before = memory?.ids ?? [];
    for (const id of ids) if (!before.includes(id)) info(`${id} is offered`);
    for (const id of before) if (!ids.includes(id)) info(`${id} is gone`);
    return { groups, memory: { ids }, askAgainMilliseconds };
  },

  reserve(config, facts, group, reserved) {
    const variable = `YURT_${group.name.toUpperCase().replaceAll('-', '_')}`;
    const env = [];
    const nodes = [];
    for (const key of reserved.flatMap((instance) => instance.members)) {
      const device = facts.devices.find((device) => device.key === key);
      if (!device) throw `device ${key} is not among the facts`;
      const usbfs = device.nodes.findIndex((node) => node.subsystem === 'usb_device');
      if (usbfs < 0) throw `device ${key} has no usbfs node`;
      const number = nodes.length;
      env.push({ name: number === 0 ? variable : `${variable}_${number + 1}`, value: { tag: 'node-path', val: number } });
      nodes.push({ member: key, node: usbfs, read: true, write: true, mknod: false });
    }
    return { env, nodes, mounts: [] };
  },

  stats: (config, counters, offered) =>
    offered.map(({ id, members }) => {
      const own = counters.filter((one) => members.includes(one.key)).flatMap((one) => one.counters);
      const requests = own.filter((counter) => counter.name === 'urbs').reduce((sum, counter) => sum + counter.total, 0);
      const summary = {
        path: 'requests',
        value: { tag: 'number', val: requests },
        unit: 'count',
        description: 'Requests to the device since it was plugged in',
      };
      return { id, summary, figures: [summary] };
    }),
});

const hexId = (number) => `0x${number.toString(16).padStart(4, '0')}`;

const matches = (rule, device) =>
  !device.isHub &&
  rule.vendor.toLowerCase() === hexId(device.vendorId) &&
  (rule.product === null || rule.product.toLowerCase() === hexId(device.productId));

function instance(device) {
  const reason = trouble(device);
  const health = reason ? { tag: 'unhealthy', val: reason } : { tag: 'healthy' };
  return { id: idOf(device), members: [device.key], health };
}

/** By the serial number where it is the device's own and may stand in an id, else by the place. */
function idOf(device) {
  const own = device.serial && device.serialQuality === 'unique' && IN_ID.test(device.serial.text);
  return own ? `sn-${device.serial.text}` : `port-${device.key}`;
}

/** The first reason why a device cannot be used. */
function trouble(device) {
  if (device.life.presence === 'absent') return 'unplugged';
  if (!device.access.authorised) return 'not authorised';
  if (device.access.overCurrent) return 'over-current at its port';
  if (!device.configuration) return 'not configured';
  if (!device.access.openable) return 'no permission to open it';
  const busy = device.nodes.find((node) => node.inUse);
  return busy && `${busy.path} is in use on this machine`;
}

/** What a job can ask for, of all devices of a group. */
function attributes(devices) {
  const vendors = new Set(devices.map((device) => hexId(device.vendorId)));
  const usb = Math.min(...devices.map((device) => device.usbRelease));
  const version = ((usb >> 8) * 100 + ((usb >> 4) & 15) * 10 + (usb & 15)) / 100;
  const milliamps = Math.max(...devices.map((device) => device.configuration?.maxMilliamps ?? 0));
  return [
    { name: 'vendors', value: { tag: 'text', val: [...vendors].join(',') } },
    { name: 'usb_version', value: { tag: 'number', val: version } },
    { name: 'max_power', value: { tag: 'integer', val: milliamps * 5 }, unit: 'mW' },
    { name: 'serials', value: { tag: 'flag', val: devices.every((device) => device.serial) } },
  ];
}
