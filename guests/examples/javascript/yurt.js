// What a policy needs beside the contract: configuration and memory as values, the log, errors that say where.
//
//   export const usbPolicy = policy({ describe() {…}, checkConfig(config) {…}, group(config, facts, memory) {…}, … });
//
// What is thrown becomes the contract's error, `TypeError: not a function (policy.js:27:14, in group)`; a thrown text is the error as it
// is. `describe` and `checkConfig` have no error to answer with: there it becomes a line in the log, and the call fails.
//
// There is no console, no timer, no fetch and no Date; integers in an answer are plain numbers, never a BigInt.

import { write } from 'yurt:plugin/log@0.1.0';

export const info = (text) => write('info', text);
export const warn = (text) => write('warn', text);

/** Wraps the five functions of the world `usb-plugin`. */
export const policy = ({ describe, checkConfig, group, reserve, stats }) => ({
  describe: () => logged(describe),
  checkConfig: (config) => logged(() => checkConfig(JSON.parse(config))),
  group: (config, facts, memory) =>
    answered(() => {
      const offer = group(JSON.parse(config), facts, recalled(memory));
      return offer.memory === undefined ? offer : { ...offer, memory: JSON.stringify(offer.memory) };
    }),
  reserve: (config, ...rest) => answered(() => reserve(JSON.parse(config), ...rest)),
  stats: (config, ...rest) => answered(() => stats(JSON.parse(config), ...rest)),
});

function answered(call) {
  try {
    return call();
  } catch (thrown) {
    throw said(thrown);
  }
}

function logged(call) {
  try {
    return call();
  } catch (thrown) {
    write('error', said(thrown));
    throw thrown;
  }
}

function said(thrown) {
  if (!(thrown instanceof Error)) return String(thrown);
  // The first line of a stack reads `    at group (policy.js:27:14)`.
  const place = /at (\S+) \(([^)]*\/)?([^)/]+:\d+(:\d+)?)\)/.exec(thrown.stack ?? '');
  return `${thrown.name}: ${thrown.message}${place ? ` (${place[3]}, in ${place[1]})` : ''}`;
}

/** Memory may come from another version of the policy: what cannot be read counts as none. */
function recalled(memory) {
  try {
    return memory === undefined ? undefined : JSON.parse(memory);
  } catch {
    warn('memory of another version is left behind');
    return undefined;
  }
}
