//! This process's memory, as Linux reports it.

/// Resident memory, in bytes; none if the system does not report it.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    field(&status()?, "VmRSS:")
}

/// Peak resident memory so far, in bytes; none if the system does not report it.
#[must_use]
pub fn peak_bytes() -> Option<u64> {
    field(&status()?, "VmHWM:")
}

fn status() -> Option<String> {
    std::fs::read_to_string("/proc/self/status").ok()
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_in_bytes() {
        assert_eq!(field("VmPeak:\t  9 kB\nVmHWM:\t  123 kB\n", "VmHWM:"), Some(123 * 1024));
        assert_eq!(field("VmPeak:\t  9 kB\n", "VmHWM:"), None);
    }
}
