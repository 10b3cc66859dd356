//! CPU time and memory of a process, from the kernel's accounting.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// CPU time of a process so far: all its threads, also those that have ended, user and system, and the children that
/// it has reaped.
///
/// # Errors
/// There is no such process.
pub fn cpu(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed())).context("a process's clock")?;
    Ok(Duration::from(clock_gettime(clock)?) + reaped_children(pid)?)
}

/// CPU time of the calling thread.
///
/// # Panics
/// Without such a clock.
#[must_use]
pub fn own_thread() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the thread's clock").into()
}

/// Resident memory of a process, in KiB.
///
/// # Errors
/// There is no such process.
pub fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().next().context("no figure")?.parse().context("VmRSS")
}

fn reaped_children(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; behind it stand fields 3 and on.
    let fields = stat.rsplit_once(')').context("no name")?.1;
    let ticks = |number: usize| fields.split_whitespace().nth(number - 3).and_then(|f| f.parse::<u64>().ok());
    let both = ticks(16).zip(ticks(17)).map(|(user, system)| user + system);
    Ok(Duration::from_millis(
        both.context("no times of children")? * 1000 / rustix::param::clock_ticks_per_second(),
    ))
}
