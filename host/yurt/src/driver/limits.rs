//! Limits that a plan may wish for, by the kernel's name: `getrlimit(2)` in small letters, files of control groups of version 2, and
//! `oom_score_adj`. Values are as the kernel takes them.

use yurt_task::{CpuMax, IoMax, Limits, ResourceLimit};

/// Numbers as on every architecture that the kernel calls generic.
const OF_PROCESSES: [(&str, u32); 14] = [
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
];
const OF_GROUPS: [&str; 6] = ["pids.max", "memory.high", "memory.swap.max", "cpu.max", "io.weight", "io.max"];
const HUGETLB: &str = "hugetlb.2MB.max";
const OOM: &str = "oom_score_adj";

pub(crate) fn is_known(name: &str) -> bool {
    names().contains(&name) || huge_pages(name).is_some()
}

pub(crate) fn names() -> Vec<&'static str> {
    OF_PROCESSES.iter().map(|(name, _)| *name).chain(OF_GROUPS).chain([HUGETLB, OOM]).collect()
}

/// Whether nobody but the task is worse off for it.
pub(crate) fn needs_no_grant(name: &str, value: &str) -> bool {
    name == OOM && value.trim().parse::<u16>().is_ok()
}

/// Adds one to others. The error says what is taken.
pub(crate) fn add(limits: &mut Limits, name: &str, value: &str) -> Result<(), &'static str> {
    if let Some((_, resource)) = OF_PROCESSES.iter().find(|(known, _)| *known == name) {
        let (soft, hard) = soft_and_hard(value).ok_or("neither a number, nor soft:hard, nor unlimited")?;
        limits.resources.push(ResourceLimit { resource: *resource, soft, hard });
        return Ok(());
    }
    const BYTES: &str = "no number of bytes such as 100M, nor max";
    match name {
        "pids.max" => limits.pids_max = Some(most(value).ok_or("neither a number nor max")?),
        "memory.high" => limits.memory_high = Some(bytes(value).ok_or(BYTES)?),
        "memory.swap.max" => limits.swap_max = Some(bytes(value).ok_or(BYTES)?),
        "cpu.max" => limits.cpu_max = Some(cpu_max(value).ok_or("no time and period in µs such as \"50000 100000\"")?),
        "io.weight" => {
            let weight = value.trim().parse().ok().filter(|weight| (1..=10_000).contains(weight));
            limits.io_weight = Some(weight.ok_or("no weight from 1 to 10000")?);
        }
        "io.max" => {
            let of_devices = value.split(',').map(io_max).collect::<Option<Vec<_>>>();
            limits.io_max.extend(of_devices.ok_or("no device and speeds such as \"8:0 rbps=1048576 wiops=120\"")?);
        }
        OOM => {
            let score = value.trim().parse().ok().filter(|score| (-1000..=1000).contains(score));
            limits.oom_score_adj = score.ok_or("no score from -1000 to 1000")?;
        }
        other => {
            let size = huge_pages(other).ok_or("no limit that can be set")?;
            limits.hugetlb_max.push((size.to_owned(), bytes(value).ok_or(BYTES)?));
        }
    }
    Ok(())
}

/// The size in `hugetlb.2MB.max`.
fn huge_pages(name: &str) -> Option<&str> {
    let size = name.strip_prefix("hugetlb.")?.strip_suffix(".max")?;
    let digits = size.strip_suffix("KB").or(size.strip_suffix("MB")).or(size.strip_suffix("GB"))?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(size)
}

/// `u64::MAX`: no limit.
fn most(text: &str) -> Option<u64> {
    match text.trim() {
        "unlimited" | "infinity" | "max" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// `1024`, `1024:4096` (soft and hard) or `unlimited`.
fn soft_and_hard(text: &str) -> Option<(u64, u64)> {
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let (soft, hard) = (most(soft)?, most(hard)?);
    (soft <= hard).then_some((soft, hard))
}

/// With the letters that the kernel takes.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = match text.bytes().last()?.to_ascii_lowercase() {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        b't' => 40,
        _ => return most(text),
    };
    text.get(..text.len() - 1)?.parse::<u64>().ok()?.checked_mul(1 << unit)
}

fn cpu_max(text: &str) -> Option<CpuMax> {
    let mut words = text.split_whitespace();
    let quota = match words.next()? {
        "max" => None,
        quota => Some(quota.parse().ok().filter(|quota| *quota >= 1000)?),
    };
    let period =
        words.next().map_or(Ok(100_000), str::parse).ok().filter(|period| (1000..=1_000_000).contains(period))?;
    words.next().is_none().then_some(CpuMax { quota, period })
}

fn io_max(text: &str) -> Option<IoMax> {
    let mut words = text.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let mut limit = IoMax { device: (major.parse().ok()?, minor.parse().ok()?), ..IoMax::default() };
    for word in words {
        let (key, speed) = word.split_once('=')?;
        let place = match key {
            "rbps" => &mut limit.read_bytes,
            "wbps" => &mut limit.write_bytes,
            "riops" => &mut limit.reads,
            "wiops" => &mut limit.writes,
            _ => return None,
        };
        *place = Some(most(speed).filter(|most| *most > 0)?);
    }
    (limit != IoMax { device: limit.device, ..IoMax::default() }).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(wanted: &[(&str, &str)]) -> Limits {
        let mut limits = Limits::default();
        for (name, value) in wanted {
            add(&mut limits, name, value).unwrap_or_else(|why| panic!("{name} = {value}: {why}"));
        }
        limits
    }

    #[test]
    fn limits_of_processes_are_one_number_or_soft_and_hard() {
        let resources = limits(&[("nofile", "1024"), ("memlock", "8:unlimited"), ("cpu", "10:20")]).resources;
        let read: Vec<_> = resources.iter().map(|one| (one.resource, one.soft, one.hard)).collect();
        let [nofile, memlock] =
            [rustix::process::Resource::Nofile, rustix::process::Resource::Memlock].map(|one| one as u32);
        assert_eq!(read, [(nofile, 1024, 1024), (memlock, 8, u64::MAX), (0, 10, 20)]);
    }

    #[test]
    fn limits_of_control_groups_are_as_the_kernel_takes_them() {
        let read = limits(&[
            ("pids.max", "100"),
            ("memory.high", "64M"),
            ("memory.swap.max", "max"),
            ("cpu.max", "50000"),
            ("io.weight", "200"),
            ("io.max", "8:0 rbps=1048576 wiops=max, 8:16 wbps=5"),
            ("hugetlb.2MB.max", "4m"),
            ("oom_score_adj", "-5"),
        ]);
        let first = IoMax { read_bytes: Some(1 << 20), writes: Some(u64::MAX), device: (8, 0), ..IoMax::default() };
        let second = IoMax { write_bytes: Some(5), device: (8, 16), ..IoMax::default() };
        let want = Limits {
            pids_max: Some(100),
            memory_high: Some(64 << 20),
            swap_max: Some(u64::MAX),
            cpu_max: Some(CpuMax { quota: Some(50_000), period: 100_000 }),
            io_weight: Some(200),
            io_max: vec![first, second],
            hugetlb_max: vec![("2MB".to_owned(), 4 << 20)],
            oom_score_adj: -5,
            ..Limits::default()
        };
        assert_eq!(read, want);
        assert_eq!(limits(&[("cpu.max", "max 20000")]).cpu_max, Some(CpuMax { quota: None, period: 20_000 }));
    }

    #[test]
    fn what_no_kernel_would_take_is_refused() {
        for (name, value) in [
            ("nofile", ""),
            ("nofile", "-1"),
            ("nofile", "9:8"),
            ("nofile", "1:2:3"),
            ("pids.max", "1:2"),
            ("memory.high", "1X"),
            ("memory.high", "M"),
            ("memory.high", "99999999999999T"),
            ("cpu.max", "5 100000"),
            ("cpu.max", "5000 100000 1"),
            ("cpu.max", "5000 1"),
            ("io.weight", "0"),
            ("io.weight", "10001"),
            ("io.max", "8:0"),
            ("io.max", "sda rbps=1"),
            ("io.max", "8:0 rbps=0"),
            ("io.max", "8:0 speed=1"),
            ("hugetlb.max", "1"),
            ("hugetlb./../x.max", "1"),
            ("oom_score_adj", "1001"),
            ("speed", "1"),
        ] {
            assert!(add(&mut Limits::default(), name, value).is_err(), "{name} = {value}");
        }
    }

    #[test]
    fn every_name_is_known_and_huge_pages_of_every_size() {
        assert!(names().into_iter().all(is_known) && is_known("hugetlb.1GB.max") && is_known("hugetlb.64KB.max"));
        assert!(!is_known("speed") && !is_known("hugetlb.MB.max") && !is_known("hugetlb.2MB"));
        assert!(needs_no_grant("oom_score_adj", "500") && !needs_no_grant("oom_score_adj", "-1"));
        assert!(!needs_no_grant("nofile", "1"));
    }
}
