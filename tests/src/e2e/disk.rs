//! Disks that are full, read-only or broken.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use super::{PATIENCE, Process};

/// Says on the terminal why a test is passed by, past the harness, which would swallow the macro's output.
pub fn skipped(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "{test}: skipped, because {reason}");
}

/// A small file system of its own, unmounted when dropped.
pub struct SmallDisk {
    root: PathBuf,
}

impl SmallDisk {
    /// Makes the directory and mounts a file system of so many KiB there, which takes root; `None` without that right.
    ///
    /// # Panics
    /// When the directory can't be made.
    #[must_use]
    pub fn mount(root: &Path, kib: u32) -> Option<Self> {
        fs::create_dir_all(root).expect("a directory to mount on");
        let options = format!("size={kib}k,mode=0700");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], root).then(|| Self { root: root.to_owned() })
    }

    /// Takes all the space that is left.
    ///
    /// # Panics
    /// When writing fails for another reason than want of space.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file on the small disk");
        loop {
            match filler.write_all(&[1; 4096]) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::StorageFull => return,
                Err(e) => panic!("filling the disk: {e}"),
            }
        }
    }

    /// Gives the space back.
    ///
    /// # Panics
    /// When the disk wasn't filled.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("the disk was filled");
    }

    /// Forbids writing, or allows it again. Nothing may be open for writing.
    ///
    /// # Panics
    /// When it can't be done.
    pub fn read_only(&self, yes: bool) {
        let options = if yes { "remount,ro" } else { "remount,rw" };
        assert!(mount(&["-o", options], &self.root), "{options}");
    }

    fn filler(&self) -> PathBuf {
        self.root.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server that a failed test has left behind holds it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.root).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    Command::new("mount").args(arguments).arg(at).output().is_ok_and(|o| o.status.success())
}

/// System calls of a running process that fail for as long as this lives.
pub struct Faults(Process);

impl Faults {
    /// Lets all these calls of the process fail, `pwrite64:error=EROFS` for instance. `None` if strace is missing or
    /// may not attach.
    #[must_use]
    pub fn inject(process: u32, faults: &[&str]) -> Option<Self> {
        let names: Vec<&str> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-p", &process.to_string()]);
        command.args(["-e", &format!("trace={}", names.join(","))]);
        for fault in faults {
            command.args(["-e", &format!("inject={fault}")]);
        }
        Command::new("strace").arg("-V").output().ok()?;
        let mut tracer = Process::start(&mut command);
        traced(process, &mut tracer).then_some(Self(tracer))
    }

    /// Calls work again.
    ///
    /// # Panics
    /// When the tracer doesn't end.
    pub fn end(mut self) {
        self.0.signal(Signal::TERM);
        assert!(self.0.ended(PATIENCE).is_some(), "the tracer doesn't end");
    }
}

/// Waits until every thread has a tracer; false if the tracer has ended instead.
fn traced(process: u32, tracer: &mut Process) -> bool {
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < deadline {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the process runs");
        let statuses = tasks.filter_map(|t| fs::read_to_string(t.ok()?.path().join("status")).ok());
        if statuses.into_iter().all(|status| !status.contains("TracerPid:\t0\n")) {
            return true;
        }
        if tracer.ended(std::time::Duration::from_millis(20)).is_some() {
            return false;
        }
    }
    false
}
