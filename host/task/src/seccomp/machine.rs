//! The kernel's machine for filters, as far as these go: so tests see what a program does.

use seccompiler::sock_filter;

pub(super) const MACHINE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

/// What the kernel answers to a call of this machine with these arguments.
pub(super) fn run(program: &[sock_filter], machine: u32, call: u32, arguments: [u64; 6]) -> u32 {
    let words = arguments.into_iter().flat_map(|argument| [argument as u32, (argument >> 32) as u32]);
    let data: Vec<u32> = [call, machine, 0, 0].into_iter().chain(words).collect();
    let (mut at, mut value) = (0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[at].clone();
        let jump = |condition| usize::from(if condition { jt } else { jf });
        at += 1 + match u32::from(code) {
            0x20 => {
                value = data[k as usize / 4];
                0
            }
            0x54 => {
                value &= k;
                0
            }
            0x05 => k as usize,
            0x15 => jump(value == k),
            0x25 => jump(value > k),
            0x35 => jump(value >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        };
    }
}
