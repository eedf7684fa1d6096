//! Which devices a task with a root of its own may use: rules of the device control group of version 1, a small program of version 2.

use std::fmt;
use std::os::fd::AsFd as _;

use super::dir::Dir;
use super::{Groups, of};
use crate::error::StepError;
use crate::launch::DeviceRule;
use crate::sys::{self, Instruction};

const STEP: &str = "allowing devices";

/// What is allowed. `None`: any number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) kind: Kind,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    /// A mixture of `r`, `w`, `m`.
    pub(crate) access: String,
}

/// Of which kind a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Block,
    Character,
}

/// What every task may: make nodes of any kind (which by itself opens nothing), and use what every program expects.
pub(crate) fn usual() -> Vec<Rule> {
    let rule = |kind, major, minor, access: &str| Rule { kind, major, minor, access: access.into() };
    let mut rules = vec![
        rule(Kind::Character, None, None, "m"),
        rule(Kind::Block, None, None, "m"),
        rule(Kind::Character, Some(136), None, "rwm"),
    ];
    // null, zero, full, random, urandom; tty, console, ptmx.
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule(Kind::Character, Some(major), Some(minor), "rwm"));
    }
    rules
}

impl From<&DeviceRule> for Rule {
    fn from(rule: &DeviceRule) -> Rule {
        let kind = if rule.block { Kind::Block } else { Kind::Character };
        Rule { kind, major: Some(rule.major), minor: Some(rule.minor), access: rule.access.clone() }
    }
}

/// Allows exactly these, in a new group or instead of what was allowed in it. A rule that stays is not touched. What goes is denied first:
/// the kernel keeps one entry for a device, and denying `rwm` after allowing `rw` would take that, too.
pub(super) fn allow_v1(dir: &Dir, rules: &[Rule]) -> Result<(), StepError> {
    let wanted: Vec<String> = rules.iter().map(Rule::to_string).collect();
    let there =
        dir.read("devices.list").map_err(|errno| StepError::errno(STEP, dir.path.display().to_string(), errno))?;
    // In a new group all is, and nothing can be added to that.
    if there.lines().any(|line| line.starts_with("a ")) {
        dir.set("devices.deny", "a")?;
    }
    for rule in there.lines().filter(|line| !line.starts_with("a ") && !wanted.iter().any(|rule| rule == line)) {
        dir.set("devices.deny", rule)?;
    }
    for rule in wanted.iter().filter(|rule| !there.lines().any(|line| line == *rule)) {
        dir.set("devices.allow", rule)?;
    }
    Ok(())
}

/// The same. What was asked before is asked no more once the new program is.
pub(super) fn allow_v2(dir: &Dir, rules: &[Rule]) -> Result<(), StepError> {
    let filtered = sys::filter_devices(dir.as_fd(), &program(rules));
    filtered.map_err(|errno| StepError::errno(STEP, dir.path.display().to_string(), errno))
}

/// For a task that runs: what every task may, and these.
pub(crate) fn renew(groups: &Groups, rules: &[DeviceRule]) -> Result<(), StepError> {
    let rules: Vec<Rule> = usual().into_iter().chain(rules.iter().map(Rule::from)).collect();
    let open = |path| Dir::open(path).map_err(|errno| StepError::errno(STEP, path.display().to_string(), errno));
    match groups {
        Groups::None => Ok(()),
        Groups::V2(path) => allow_v2(&open(path)?, &rules),
        Groups::V1(groups) => of(groups, "devices").map_or(Ok(()), |path| allow_v1(&open(path)?, &rules)),
    }
}

/// As `devices.allow` takes it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let kind = match self.kind {
            Kind::Block => 'b',
            Kind::Character => 'c',
        };
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

/// A program for `BPF_PROG_TYPE_CGROUP_DEVICE` that allows what one of the rules does (`struct bpf_cgroup_dev_ctx`).
///
/// It gets the address of three words: access << 16 | kind, major, minor.
pub(crate) fn program(rules: &[Rule]) -> Vec<Instruction> {
    const KIND: u8 = 2;
    const ACCESS: u8 = 3;
    const MAJOR: u8 = 4;
    const MINOR: u8 = 5;
    const SCRATCH: u8 = 0;
    const CONTEXT: u8 = 1;
    let mut program = vec![
        load_word(KIND, CONTEXT, 0),
        move_register(ACCESS, KIND),
        and(KIND, 0xffff),
        shift_right(ACCESS, 16),
        load_word(MAJOR, CONTEXT, 4),
        load_word(MINOR, CONTEXT, 8),
    ];
    for rule in rules {
        // Each test jumps to the next rule if it fails.
        let mut tests = vec![skip_unless_equal(KIND, if rule.kind == Kind::Block { 1 } else { 2 })];
        let bits = [('m', 1), ('r', 2), ('w', 4)];
        let allowed: i32 = bits.iter().filter(|(letter, _)| rule.access.contains(*letter)).map(|(_, bit)| bit).sum();
        if allowed != 7 {
            tests.extend([move_register(SCRATCH, ACCESS), and(SCRATCH, !allowed & 7), skip_unless_equal(SCRATCH, 0)]);
        }
        tests.extend(rule.major.map(|major| skip_unless_equal(MAJOR, major.cast_signed())));
        tests.extend(rule.minor.map(|minor| skip_unless_equal(MINOR, minor.cast_signed())));
        tests.extend([move_number(SCRATCH, 1), exit()]);
        let length = tests.len();
        for (place, test) in tests.iter_mut().enumerate().filter(|(_, test)| test.code == SKIP_UNLESS_EQUAL) {
            test.offset = i16::try_from(length - place - 1).unwrap_or(0);
        }
        program.extend(tests);
    }
    program.extend([move_number(SCRATCH, 0), exit()]);
    program
}

/// `BPF_JMP32 | BPF_JNE | BPF_K`: numbers here are words, which a comparison of 64 bits would extend by their sign.
const SKIP_UNLESS_EQUAL: u8 = 0x56;

fn load_word(to: u8, from: u8, offset: i16) -> Instruction {
    Instruction { code: 0x61, registers: from << 4 | to, offset, immediate: 0 }
}

fn move_register(to: u8, from: u8) -> Instruction {
    Instruction { code: 0xbf, registers: from << 4 | to, offset: 0, immediate: 0 }
}

fn move_number(to: u8, immediate: i32) -> Instruction {
    Instruction { code: 0xb7, registers: to, offset: 0, immediate }
}

fn and(to: u8, immediate: i32) -> Instruction {
    Instruction { code: 0x57, registers: to, offset: 0, immediate }
}

fn shift_right(to: u8, immediate: i32) -> Instruction {
    Instruction { code: 0x77, registers: to, offset: 0, immediate }
}

fn skip_unless_equal(register: u8, immediate: i32) -> Instruction {
    Instruction { code: SKIP_UNLESS_EQUAL, registers: register, offset: 0, immediate }
}

fn exit() -> Instruction {
    Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's machine would answer.
    fn run(program: &[Instruction], kind: u64, access: u64, major: u64, minor: u64) -> u64 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u64; 11];
        let mut at = 0;
        loop {
            let now = program[at];
            let (to, from) = (usize::from(now.registers & 15), usize::from(now.registers >> 4));
            match now.code {
                0x61 => registers[to] = context[usize::try_from(now.offset).unwrap() / 4],
                0xbf => registers[to] = registers[from],
                0xb7 => registers[to] = now.immediate as u64,
                0x57 => registers[to] &= now.immediate as u64,
                0x77 => registers[to] >>= now.immediate,
                0x56 if registers[to] as u32 != now.immediate as u32 => at += usize::try_from(now.offset).unwrap(),
                0x56 => {}
                0x95 => return registers[0],
                other => panic!("instruction {other:#x}"),
            }
            at += 1;
        }
    }

    #[test]
    fn a_device_is_allowed_by_kind_numbers_and_access() {
        let mut rules = usual();
        rules.push(Rule { kind: Kind::Character, major: Some(189), minor: Some(5), access: "rw".into() });
        rules.push(Rule { kind: Kind::Block, major: Some(u32::MAX), minor: None, access: "r".into() });
        let program = program(&rules);
        let (block, character, make, read, write) = (1, 2, 1, 2, 4);
        let allowed = |kind, access, major, minor| run(&program, kind, access, major, minor) == 1;
        assert!(allowed(character, read | write, 1, 3), "null");
        assert!(allowed(character, make, 4, 64) && allowed(block, make, 8, 0), "nodes may be made");
        assert!(!allowed(character, read, 4, 64) && !allowed(block, read, 8, 0) && !allowed(block, read | make, 8, 0));
        assert!(allowed(character, read | write, 189, 5) && allowed(character, 0, 189, 5));
        assert!(!allowed(character, read, 189, 6) && !allowed(block, read, 189, 5), "another device");
        assert!(allowed(block, read, u64::from(u32::MAX), 7) && !allowed(block, write, u64::from(u32::MAX), 7));
        assert!(allowed(character, read | write | make, 136, 12), "pseudo terminals");
    }

    #[test]
    fn a_rule_reads_as_the_kernel_wants_it() {
        let rule = Rule { kind: Kind::Block, major: Some(8), minor: None, access: "rw".into() };
        assert_eq!(rule.to_string(), "b 8:* rw");
    }
}
