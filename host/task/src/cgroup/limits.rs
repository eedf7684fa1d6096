//! Limits in the files of control groups, and what those files held before: a start that fails leaves them so.

use std::fs;
use std::path::PathBuf;

use rustix::io::Errno;

use super::Group;
use super::dir::Dir;
use crate::error::StepError;
use crate::launch::{CpuMax, IoMax, Limits};

/// Files that were written, with what takes it back, in order.
#[derive(Debug, Default)]
pub(crate) struct Written(Vec<(PathBuf, String)>);

impl Written {
    /// The last first: a limit may bound another.
    pub(crate) fn take_back(&mut self) {
        for (file, before) in self.0.drain(..).rev() {
            // A directory that was made for this start is gone with all its files.
            let _ = fs::write(file, before);
        }
    }

    fn set(&mut self, dir: &Dir, file: &str, value: impl ToString) -> Result<(), StepError> {
        let before = dir.read(file);
        dir.set(file, value)?;
        if let Ok(before) = before {
            // Nothing at all would not even arrive.
            let before = if before.is_empty() { "\n".to_owned() } else { before };
            self.0.push((dir.path.join(file), before));
        }
        Ok(())
    }

    /// Sets what a job asked for by name, and what a kernel may lack.
    fn set_asked(&mut self, name: &str, dir: &Dir, file: &str, value: impl ToString) -> Result<(), StepError> {
        self.set(dir, file, value).map_err(|why| {
            let none = [Errno::NOENT, Errno::OPNOTSUPP].map(|errno| Some(errno.raw_os_error()));
            if none.contains(&why.os_error()) {
                lacking(name, &format!("there is no {file} in {}", dir.path.display()))
            } else {
                why
            }
        })
    }

    /// One line of a file that has one for each device; `none` is what a line says that limits nothing.
    fn set_of_device(
        &mut self,
        name: &str,
        dir: &Dir,
        file: &str,
        of: (u32, u32),
        value: &str,
        none: &str,
    ) -> Result<(), StepError> {
        let device = format!("{}:{} ", of.0, of.1);
        let all = dir.read(file).unwrap_or_default();
        let before = all.lines().find(|line| line.starts_with(&device)).map(str::to_owned);
        let at = self.0.len();
        self.set_asked(name, dir, file, format!("{device}{value}"))?;
        self.0.truncate(at);
        self.0.push((dir.path.join(file), before.unwrap_or_else(|| format!("{device}{none}"))));
        Ok(())
    }
}

/// `name` cannot be set here.
fn lacking(name: &str, why: &str) -> StepError {
    StepError::text("setting a limit", name, format!("{why}: leave the limit out"))
}

/// All limits, in the one directory of version 2.
pub(super) fn set_v2(written: &mut Written, dir: &Dir, limits: &Limits) -> Result<(), StepError> {
    if let Some(most) = limits.memory_max {
        written.set(dir, "memory.max", most)?;
    }
    match (limits.swap_max, limits.memory_max) {
        (Some(swap), _) => written.set_asked("memory.swap.max", dir, "memory.swap.max", number(swap))?,
        // Swap would only be a slower way to exceed it.
        (None, Some(_)) if dir.read("memory.swap.max").is_ok() => written.set(dir, "memory.swap.max", 0)?,
        (None, _) => {}
    }
    if let Some(low) = limits.memory_low {
        written.set(dir, "memory.low", low)?;
    }
    if let Some(shares) = limits.cpu_shares {
        written.set(dir, "cpu.weight", weight(shares))?;
    }
    if let Some(cpus) = &limits.cpuset {
        written.set(dir, "cpuset.cpus", cpus)?;
    }
    if let Some(high) = limits.memory_high {
        written.set_asked("memory.high", dir, "memory.high", number(high))?;
    }
    if let Some(most) = limits.pids_max {
        written.set_asked("pids.max", dir, "pids.max", number(most))?;
    }
    if let Some(CpuMax { quota, period }) = limits.cpu_max {
        written.set_asked(
            "cpu.max",
            dir,
            "cpu.max",
            format!("{} {period}", quota.map_or("max".to_owned(), |q| q.to_string())),
        )?;
    }
    if let Some(weight) = limits.io_weight {
        let file = if dir.read("io.weight").is_ok() { "io.weight" } else { "io.bfq.weight" };
        written.set_asked("io.weight", dir, file, if file == "io.weight" { weight } else { weight.min(1000) })?;
    }
    for IoMax { device, read_bytes, write_bytes, reads, writes } in &limits.io_max {
        let [rbps, wbps, riops, wiops] =
            [read_bytes, write_bytes, reads, writes].map(|most| number(most.unwrap_or(u64::MAX)));
        let line = format!("rbps={rbps} wbps={wbps} riops={riops} wiops={wiops}");
        written.set_of_device("io.max", dir, "io.max", *device, &line, "rbps=max wbps=max riops=max wiops=max")?;
    }
    for (size, most) in &limits.hugetlb_max {
        let file = format!("hugetlb.{size}.max");
        written.set_asked(&file, dir, &file, number(*most))?;
    }
    Ok(())
}

/// Refuses what version 1 has nothing for, on this machine or on any.
pub(super) fn check_v1(groups: &[Group], limits: &Limits) -> Result<(), StepError> {
    if limits.memory_high.is_some() {
        return Err(lacking("memory.high", "control groups of version 1 have no such limit"));
    }
    if limits.swap_max.is_some() && limits.memory_max.is_none() {
        let why = "control groups of version 1 bound memory and swap together, and this task's memory has no bound";
        return Err(lacking("memory.swap.max", why));
    }
    let hugetlb = limits.hugetlb_max.first().map(|(size, _)| format!("hugetlb.{size}.max"));
    let asked = [
        (limits.swap_max.is_some(), "memory.swap.max", "memory"),
        (limits.pids_max.is_some(), "pids.max", "pids"),
        (limits.cpu_max.is_some(), "cpu.max", "cpu"),
        (limits.io_weight.is_some(), "io.weight", "blkio"),
        (!limits.io_max.is_empty(), "io.max", "blkio"),
        (hugetlb.is_some(), hugetlb.as_deref().unwrap_or_default(), "hugetlb"),
    ];
    match asked.iter().find(|(asked, _, controller)| *asked && !groups.iter().any(|group| group.has(controller))) {
        Some((_, name, controller)) => Err(lacking(
            name,
            &format!("this machine does not have {controller} among its control groups of version 1"),
        )),
        None => Ok(()),
    }
}

/// Those that one directory of version 1 is for.
pub(super) fn set_v1(written: &mut Written, group: &Group, dir: &Dir, limits: &Limits) -> Result<(), StepError> {
    if group.has("memory") {
        memory_v1(written, dir, limits)?;
    }
    if group.has("cpu") {
        if let Some(shares) = limits.cpu_shares {
            written.set(dir, "cpu.shares", shares)?;
        }
        if let Some(CpuMax { quota, period }) = limits.cpu_max {
            written.set_asked("cpu.max", dir, "cpu.cfs_period_us", period)?;
            let quota = quota.map_or("-1".to_owned(), |quota| quota.to_string());
            written.set_asked("cpu.max", dir, "cpu.cfs_quota_us", quota)?;
        }
    }
    if let Some(most) = limits.pids_max.filter(|_| group.has("pids")) {
        written.set_asked("pids.max", dir, "pids.max", number(most))?;
    }
    if let Some(cpus) = limits.cpuset.as_ref().filter(|_| group.has("cpuset")) {
        written.set(dir, "cpuset.cpus", cpus)?;
    }
    if group.has("blkio") {
        io_v1(written, dir, limits)?;
    }
    if group.has("hugetlb") {
        for (size, most) in &limits.hugetlb_max {
            let name = format!("hugetlb.{size}.max");
            written.set_asked(&name, dir, &format!("hugetlb.{size}.limit_in_bytes"), unbounded_is_minus_1(*most))?;
        }
    }
    Ok(())
}

fn memory_v1(written: &mut Written, dir: &Dir, limits: &Limits) -> Result<(), StepError> {
    const BOTH: &str = "memory.memsw.limit_in_bytes";
    if let Some(most) = limits.memory_max {
        if limits.swap_max.is_some() && dir.read(BOTH).is_ok() {
            // That of an earlier start may be less than what memory alone gets now.
            written.set(dir, BOTH, "-1")?;
        }
        written.set(dir, "memory.limit_in_bytes", most)?;
        match limits.swap_max {
            Some(swap) => {
                written.set_asked("memory.swap.max", dir, BOTH, unbounded_is_minus_1(most.saturating_add(swap)))?;
            }
            None => {
                let _ = written.set(dir, "memory.swappiness", 0);
            }
        }
    }
    match limits.memory_low {
        Some(low) => written.set(dir, "memory.soft_limit_in_bytes", low),
        None => Ok(()),
    }
}

fn io_v1(written: &mut Written, dir: &Dir, limits: &Limits) -> Result<(), StepError> {
    if let Some(weight) = limits.io_weight {
        // Half of what there is: 500 of 1000 in one scheduler, 100 of 1000 in the other.
        let (file, weight) = match dir.read("blkio.weight") {
            Ok(_) => ("blkio.weight", weight.saturating_mul(5).clamp(10, 1000)),
            Err(_) => ("blkio.bfq.weight", weight.min(1000)),
        };
        written.set_asked("io.weight", dir, file, weight)?;
    }
    for IoMax { device, read_bytes, write_bytes, reads, writes } in &limits.io_max {
        let files = [
            ("blkio.throttle.read_bps_device", read_bytes),
            ("blkio.throttle.write_bps_device", write_bytes),
            ("blkio.throttle.read_iops_device", reads),
            ("blkio.throttle.write_iops_device", writes),
        ];
        for (file, most) in files {
            // There, zero is no limit.
            let most = most.filter(|most| *most != u64::MAX).unwrap_or(0).to_string();
            written.set_of_device("io.max", dir, file, *device, &most, "0")?;
        }
    }
    Ok(())
}

fn number(most: u64) -> String {
    if most == u64::MAX { "max".to_owned() } else { most.to_string() }
}

fn unbounded_is_minus_1(most: u64) -> String {
    if most == u64::MAX { "-1".to_owned() } else { most.to_string() }
}

/// Shares of version 1, 2 to 262144, as a weight of version 2, 1 to 10000.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn shares_become_weights_over_the_whole_range() {
        assert_eq!([0, 2, 1024, 262_144, u64::MAX].map(weight), [1, 1, 39, 10_000, 10_000]);
    }
}
