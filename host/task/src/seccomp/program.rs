//! A filter that has more than one answer, which one of `seccompiler` has not.
//!
//! Numbers of calls are gone through upwards, neighbours with the same answer at once. The kernel runs no filter for calls of which it has found out that
//! they are allowed whatever their arguments (since Linux 5.11), so that the order matters little.

use std::collections::BTreeMap;

use seccompiler::sock_filter;

use super::X32;
use super::answer::Answer;
use super::condition::Condition;

/// `BPF_MAXINSNS`.
const INSTRUCTIONS_MAX: usize = 4096;

/// `AUDIT_ARCH_X86_64`, `AUDIT_ARCH_AARCH64`.
const MACHINE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

/// What stands where in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// What happens to system calls by their numbers.
#[derive(Debug, Default)]
pub(super) struct Calls(BTreeMap<u32, Call>);

#[derive(Debug, Clone, PartialEq)]
enum Call {
    Always(Answer),
    /// One of the conditions, all of which hold, and the answer then.
    Where(Vec<(Vec<Condition>, Answer)>),
}

impl Calls {
    /// Without alternatives it is decided; else one of them has to fit.
    pub(super) fn add(&mut self, call: u32, answer: Answer, alternatives: &[Vec<Condition>]) {
        let known = self.0.entry(call).or_insert(Call::Where(Vec::new()));
        match known {
            Call::Always(_) => {}
            Call::Where(_) if alternatives.is_empty() => *known = Call::Always(answer),
            Call::Where(others) => {
                others.extend(alternatives.iter().map(|conditions| (conditions.clone(), answer)));
            }
        }
    }

    /// Whether the call may be made, with some arguments at least.
    pub(super) fn may_pass(&self, call: u32, default: Answer) -> bool {
        match self.0.get(&call) {
            Some(Call::Always(answer)) => answer.lets_pass(),
            Some(Call::Where(others)) if others.iter().any(|(_, answer)| answer.lets_pass()) => true,
            _ => default.lets_pass(),
        }
    }
}

/// The whole filter. All but this machine's own calls are refused: those of 32 bits by the end of the process, those of x32 as unknown ones.
pub(super) fn of(default: Answer, calls: &Calls) -> Result<Vec<sock_filter>, String> {
    let mut program = vec![
        load(ARCHITECTURE),
        if_equal(MACHINE, 1, 0),
        answer(Answer::KILL),
        load(NUMBER),
        if_at_least(X32, 0, 1),
        answer(Answer::errno(libc::ENOSYS.unsigned_abs())),
    ];
    let stretches = stretches(default, calls);
    let ends = stretches.iter().skip(1).map(|(first, _)| Some(*first)).chain([None]);
    for ((_, call), end) in stretches.iter().zip(ends) {
        let body = body(call, default);
        if let Some(end) = end {
            program.extend([if_at_least(end, 0, 1), jump(body.len())]);
        }
        program.extend(body);
    }
    match program.len() {
        0..=INSTRUCTIONS_MAX => Ok(program),
        many => Err(format!("it makes {many} instructions of a filter, and the kernel takes {INSTRUCTIONS_MAX}")),
    }
}

/// Numbers that have the same answer, by the first of them; each goes to the next one's.
fn stretches(default: Answer, calls: &Calls) -> Vec<(u32, Call)> {
    let mut stretches = Vec::new();
    let mut next = 0;
    for (number, call) in &calls.0 {
        if *number > next {
            stretches.push((next, Call::Always(default)));
        }
        stretches.push((*number, call.clone()));
        next = number + 1;
    }
    stretches.push((next, Call::Always(default)));
    stretches.dedup_by(|later, earlier| later.1 == earlier.1);
    stretches
}

/// Answers in any case.
fn body(call: &Call, default: Answer) -> Vec<sock_filter> {
    let mut others = match call {
        Call::Always(always) => return vec![answer(*always)],
        Call::Where(others) => others.clone(),
    };
    others.sort_by_key(|(_, answer)| answer.strictness());
    let alternatives = others.iter().flat_map(|(conditions, answer)| alternative(conditions, *answer));
    alternatives.chain([answer(default)]).collect()
}

/// Answers if all conditions hold, and else goes on behind its end. Six conditions at most are about forty instructions.
fn alternative(conditions: &[Condition], then: Answer) -> Vec<sock_filter> {
    conditions.iter().rev().fold(vec![answer(then)], |rest, condition| {
        let mut whole = condition.instructions(rest.len() as u8);
        whole.extend(rest);
        whole
    })
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

fn answer(answer: Answer) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, answer.0)
}

fn jump(over: usize) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, over as u32)
}

/// A word of `struct seccomp_data`.
pub(super) fn load(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at)
}

pub(super) fn and(mask: u32) -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask)
}

/// Jumps over as many instructions, like the two below.
pub(super) fn if_equal(value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value)
}

pub(super) fn if_above(value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, yes, no, value)
}

pub(super) fn if_at_least(value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, yes, no, value)
}
