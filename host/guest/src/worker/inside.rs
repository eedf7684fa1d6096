//! The worker's side.

use std::env;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use rustix::process::{
    Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setpriority_process, setrlimit,
};

use super::{Job, NAME, REFUSED, WORD};
use crate::{compiled, engine};

/// Open files that a compiler needs: its own three, and what it asks of `/proc`.
const FILES: u64 = 32;

/// Compiles, if this process was started for that: the exit status to end with. None: it was started for something else.
pub fn take_over() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let arguments: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    let Some(job) = Job::parse(&arguments) else {
        return Some(said("not started by a plugin", ExitCode::FAILURE));
    };
    Some(match work(&job) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(why)) => said(&why, ExitCode::from(REFUSED)),
        Err(why) => said(&why.to_string(), ExitCode::FAILURE),
    })
}

/// An error inside is what the compiler has against the component.
fn work(job: &Job) -> io::Result<Result<(), String>> {
    bounded(job)?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component)?;
    let engine = engine::compiling(job.translator, job.memory).map_err(io::Error::other)?;
    match compiled::compile(&engine, &component) {
        Ok(code) => io::stdout().lock().write_all(&code).map(Ok),
        Err(why) => Ok(Err(why)),
    }
}

/// Gives itself its bounds, before it has seen a byte of the component.
fn bounded(job: &Job) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().is_none_or(|parent| parent.as_raw_pid().unsigned_abs() != job.parent) {
        return Err(io::Error::other("the plugin has ended"));
    }
    bound(Resource::Data, job.bytes)?;
    bound(Resource::Fsize, job.bytes)?;
    bound(Resource::Cpu, job.cpu)?;
    bound(Resource::Core, 0)?;
    bound(Resource::Nofile, FILES)?;
    // The rest is manners. Where the machine runs out of memory, this goes before anything that serves.
    _ = fs::write("/proc/self/oom_score_adj", "1000");
    _ = setpriority_process(None, compiled::NICE);
    _ = rustix::thread::set_name(NAME);
    Ok(())
}

fn bound(resource: Resource, most: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |already| already.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

fn said(why: &str, status: ExitCode) -> ExitCode {
    // Without anybody to read it the status says enough.
    _ = io::stderr().lock().write_all(why.as_bytes());
    status
}
