//! What the machine says of itself, read from `/proc` and the file system. Each reading is a few
//! small files; nothing is kept or refreshed in the background.
//!
//! A figure is none where the kernel or the unit (`ProcSubset=pid`) does not show it.

use std::{fs, io, path::Path, time::Duration};

use nix::sys::statvfs::statvfs;

/// Load and memory of the machine, and memory of this process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Load average of the last minute.
    pub load1: Option<f64>,
    /// Memory, in bytes.
    pub memory_total: Option<u64>,
    /// Memory that can be had without swapping, in bytes.
    pub memory_available: Option<u64>,
    /// Time since boot.
    pub uptime: Option<Duration>,
    /// Resident memory of this process, in bytes.
    pub own_rss: Option<u64>,
}

/// Space on a file system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Disk {
    /// Size, in bytes.
    pub total: u64,
    /// Free for us, in bytes.
    pub free: u64,
}

/// What does not change until the next boot.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// Host name.
    pub hostname: String,
    /// Kernel's release.
    pub kernel: String,
    /// Name of the operating system, such as `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// Kernel's id of this boot.
    pub boot_id: String,
    /// CPUs that this process may use.
    pub cpus: u32,
}

/// Reads load and memory.
pub fn load() -> Load {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory = text("/proc/meminfo");
    Load {
        load1: first(&text("/proc/loadavg")),
        memory_total: kib(&memory, "MemTotal:"),
        memory_available: kib(&memory, "MemAvailable:"),
        uptime: first(&text("/proc/uptime"))
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        own_rss: kib(&text("/proc/self/status"), "VmRSS:"),
    }
}

/// Reads the space on the file system that holds `path`.
///
/// # Errors
/// The file system's.
pub fn disk(path: &Path) -> io::Result<Disk> {
    let it = statvfs(path)?;
    // Sizes of the fields differ between platforms.
    #[expect(clippy::useless_conversion, reason = "they are u64 on this one")]
    let (unit, blocks, free) =
        (u64::from(it.fragment_size()), u64::from(it.blocks()), u64::from(it.blocks_available()));
    Ok(Disk { total: blocks.saturating_mul(unit), free: free.saturating_mul(unit) })
}

/// Reads what does not change until the next boot; empty where it cannot be read.
pub fn facts() -> Facts {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Facts {
        hostname: line("/proc/sys/kernel/hostname"),
        kernel: line("/proc/sys/kernel/osrelease"),
        os: os_name(&line("/etc/os-release")),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
    }
}

fn first(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|it| it.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn os_name(text: &str) -> String {
    let value = text.lines().find_map(|it| it.strip_prefix("PRETTY_NAME="));
    value.unwrap_or_default().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_this_machine_are_plausible() {
        let load = load();
        let (total, available) = (load.memory_total.unwrap(), load.memory_available.unwrap());
        assert!(0 < available && available <= total);
        assert!(load.load1.unwrap() >= 0.0);
        assert!(load.uptime.unwrap() > Duration::ZERO);
        assert!((1 << 20..1 << 30).contains(&load.own_rss.unwrap()));
        let disk = disk(Path::new("/")).unwrap();
        assert!(0 < disk.total && disk.free <= disk.total);
        assert!(super::disk(Path::new("/no/such/place")).is_err());
        let facts = facts();
        assert!(facts.cpus > 0 && !facts.kernel.is_empty() && facts.boot_id.len() == 36);
    }

    #[test]
    fn hidden_or_odd_files_give_no_figure() {
        assert_eq!(kib("MemTotal: 12 kB\nMemFree: 1 kB", "MemFree:"), Some(1024));
        for odd in ["", "MemFree:", "MemFree: x kB", "MemFree: 12", "MemFree: -1 kB"] {
            assert_eq!(kib(odd, "MemFree:"), None, "{odd}");
        }
        assert_eq!(first(""), None);
        assert_eq!(os_name("NAME=x\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
    }
}
