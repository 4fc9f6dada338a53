//! Compiled rules (TZif) that count leap seconds, which no clock does that hosts and databases read.

/// Bytes of the header of compiled rules.
const HEADER_BYTES: u64 = 44;

/// What is wrong with such rules.
pub const LEAP_SECONDS: &str = "it counts leap seconds, which clocks do not, and would be 27 seconds off";

/// Whether compiled rules count leap seconds, as those in the folder `right` of some systems do. Clocks and databases
/// do not, so that each change of such rules comes too late by all leap seconds before it.
#[must_use]
pub fn counts_leap_seconds(file: &[u8]) -> bool {
    let Some((leaps, bytes)) = header(file, 4) else { return false };
    // From version 2 on the same comes once more, with longer times, and is what is read.
    let second = usize::try_from(bytes).ok().and_then(|bytes| header(file.get(bytes..)?, 8));
    leaps > 0 || second.is_some_and(|(leaps, _)| leaps > 0)
}

/// Of a header and the data behind it (RFC 9636, section 3): how many leap seconds it has, and its length in bytes.
fn header(file: &[u8], time_bytes: u64) -> Option<(u64, u64)> {
    if !file.starts_with(b"TZif") {
        return None;
    }
    let count = |place: usize| -> Option<u64> {
        let bytes = file.get(20 + 4 * place..24 + 4 * place)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?).into())
    };
    let (ut_flags, standard_flags, leaps) = (count(0)?, count(1)?, count(2)?);
    let (times, types, characters) = (count(3)?, count(4)?, count(5)?);
    let flags = ut_flags + standard_flags;
    let data = times * (time_bytes + 1) + types * 6 + characters + leaps * (time_bytes + 4) + flags;
    Some((leaps, HEADER_BYTES + data))
}

/// Rules as files have them: a short first part for old programs, and a second one, here with leap seconds or none.
#[cfg(test)]
pub(super) fn compiled(leaps: u32) -> Vec<u8> {
    let part = |leaps: u32, time_bytes: u32| {
        let mut part = b"TZif2".to_vec();
        part.extend([0_u8; 15]);
        // Flags of two kinds, leap seconds, changes, types, characters.
        for count in [0, 0, leaps, 0, 1, 4] {
            part.extend(u32::to_be_bytes(count));
        }
        part.extend([0_u8; 6]);
        part.extend(b"UTC\0");
        part.extend(vec![0_u8; usize::try_from(leaps * (time_bytes + 4)).expect("a few")]);
        part
    };
    [part(0, 4), part(leaps, 8), b"\nUTC0\n".to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_with_leap_seconds_are_told_from_those_without() {
        assert!(!counts_leap_seconds(&compiled(0)));
        assert!(counts_leap_seconds(&compiled(27)));
        // Of version 1 there is one part only.
        let mut old = compiled(0);
        old[31] = 1;
        assert!(counts_leap_seconds(&old));
        for short in [&b""[..], b"TZif", b"TZif2", &compiled(27)[..60], &[0; 100]] {
            assert!(!counts_leap_seconds(short));
        }
    }
}
