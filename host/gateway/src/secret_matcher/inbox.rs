//! The bytes that a layer has still to read, and where they come from.

use std::ops::Range;

use memchr::memchr3;

use super::digits::Digits;
use super::escapes::{begins_escape, first_escape};

/// Most decodings between the source and a layer.
pub(super) const DECODINGS_MAX: u8 = 4;

/// Bytes that a layer keeps room for between two batches.
const KEPT_BYTES: usize = 4 * 1024;

/// Stretches that it keeps room for.
const KEPT_STRETCHES: usize = 512;

/// A gap in a layer: no byte of it belongs to a secret, a number or an escape.
pub(super) const GAP: u8 = 0;

/// Where consecutive bytes of a layer come from. Most bytes of a layer stand in few stretches, so a byte costs no more
/// than itself.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// Place of the first of them in this layer.
    at: u32,
    /// Place that the first of them comes from: in the layer above, or in the source.
    from: u32,
    origin: StretchOrigin,
}

#[derive(Clone, Copy, Debug)]
enum StretchOrigin {
    /// Each is a byte of the source.
    Source,
    /// Each is made of these bytes of the source, which were read with an earlier batch.
    EarlierSource { end: u32, novelty: Novelty },
    /// Each is a byte of the layer above. The first may stand behind another byte than there.
    Copied { first: Novelty },
    /// Each is made of one escape of so many bytes. The escapes stand one behind the other.
    Escapes { length: u32 },
    /// They are made of digits. Those of the first group come from `from`; this many bytes of it are left out.
    Digits { digits: Digits, left_out: u8 },
}

/// How a byte of an unescaped layer differs from the layer above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Novelty {
    Nothing,
    /// It is one of the layer above, but stands behind another one than there. There it stands behind no digit, so a
    /// run of digits that begins with it here begins with it there too.
    Moved,
    /// The same, and there it stands behind a digit, or behind a byte that is not known here. A run that begins with it
    /// here has more in front there. Then what the digits stand for has more in front as well, which may be half of an
    /// escape and take the first bytes away.
    CutOff,
    /// It was decoded.
    Decoded,
}

/// What a byte of a layer is made of.
pub(super) enum MadeOf {
    /// Of bytes of the source, of which it says where they begin and end.
    Source { start: u32, end: u32 },
    /// Of bytes of the layer above.
    Above { first: usize, last: usize },
}

/// A byte that waits for the next batch, and where it begins and ends in the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldByte {
    byte: u8,
    start: u32,
    end: u32,
    novelty: Novelty,
}

/// The bytes that a layer has still to read, without those that never belong to a secret but may be written between its
/// characters: U+0000 (which UTF-16 has between letters of ASCII, and which is removed before a text is stored), line
/// breaks, and the blanks that a folded line begins with.
#[derive(Clone, Debug, Default)]
pub(super) struct Inbox {
    pub(super) bytes: Vec<u8>,
    stretches: Vec<Stretch>,
    /// Whether the layer is the one above with its escapes decoded. Any other one differs from that everywhere.
    is_unescaped: bool,
    /// Whether an escape may begin somewhere. `false` is certain.
    pub(super) may_escape: bool,
    after_break: bool,
    /// What is read next stands behind another byte than in the layer above, since something was left out or decoded.
    is_behind_other: bool,
}

impl Inbox {
    /// The inbox of an unescaped layer.
    pub(super) fn of_unescaped() -> Self {
        Self { is_unescaped: true, ..Self::default() }
    }

    /// Becomes what it was when it was made.
    pub(super) fn forget(&mut self) {
        *self = Self { is_unescaped: self.is_unescaped, ..Self::default() };
    }

    /// Adds bytes of the source, of which the first stands at `position`.
    pub(super) fn write_source(&mut self, bytes: &[u8], position: u32) {
        self.write(bytes, |at| (position + short(at), StretchOrigin::Source));
    }

    /// Adds bytes that digits of the layer above stand for. The first group begins at `from` there.
    #[expect(clippy::cast_possible_truncation, reason = "a group has at most three bytes")]
    pub(super) fn write_digits(&mut self, bytes: &[u8], digits: Digits, from: usize) {
        self.write(bytes, |at| {
            let (group, left_out) = (at / digits.group_bytes(), at % digits.group_bytes());
            (short(from + group * digits.group()), StretchOrigin::Digits { digits, left_out: left_out as u8 })
        });
    }

    /// Adds bytes that an escape of the layer above stands for.
    #[inline]
    pub(super) fn write_escape(&mut self, bytes: &[u8], at: usize, end: usize) {
        let (from, length) = (short(at), short(end - at));
        for &byte in bytes {
            if !self.leaves_out(byte) {
                self.may_escape |= begins_escape(byte);
                if !self.goes_on_with_escape(from, length) {
                    self.begin_stretch(from, StretchOrigin::Escapes { length });
                }
                self.bytes.push(byte);
            }
        }
        // What is copied next stands behind another byte than in the layer above.
        self.is_behind_other = true;
    }

    /// Adds what pairs of a backslash and a character of punctuation stand for, one behind the other from `at` on in
    /// the layer above. None of these characters is left out.
    #[inline]
    pub(super) fn write_pairs(&mut self, pairs: &[[u8; 2]], at: usize) {
        let (from, length) = (short(at), 2);
        if !self.goes_on_with_escape(from, length) {
            self.begin_stretch(from, StretchOrigin::Escapes { length });
        }
        self.bytes.extend(pairs.iter().map(|[_, second]| *second));
        self.may_escape |= pairs.iter().any(|[_, second]| begins_escape(*second));
        (self.after_break, self.is_behind_other) = (false, true);
    }

    /// Adds a byte that is made of digits, of which an earlier batch has read one. They are these bytes of the source.
    pub(super) fn write_byte(&mut self, byte: u8, start: u32, end: u32) {
        if !self.leaves_out(byte) {
            self.may_escape |= begins_escape(byte);
            self.begin_stretch(start, StretchOrigin::EarlierSource { end, novelty: Novelty::Decoded });
            self.bytes.push(byte);
        }
    }

    /// Takes over bytes of the layer above, which are the same here. The first stands at `from` there, behind `before`,
    /// if that is known.
    pub(super) fn copy(&mut self, bytes: &[u8], from: usize, before: Option<u8>) {
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
        let blanks = if self.after_break { bytes.iter().take_while(is_blank).count() } else { 0 };
        self.is_behind_other |= blanks > 0;
        if blanks == bytes.len() {
            return;
        }
        let before = if blanks > 0 { Some(bytes[blanks - 1]) } else { before };
        let first = match (std::mem::take(&mut self.is_behind_other), before) {
            (false, _) => Novelty::Nothing,
            // A digit of hexadecimal is one of base64 too.
            (true, Some(before)) if !Digits::Base64.has(before) => Novelty::Moved,
            (true, _) => Novelty::CutOff,
        };
        self.after_break = false;
        self.may_escape = true;
        self.begin_stretch(short(from + blanks), StretchOrigin::Copied { first });
        self.bytes.extend_from_slice(&bytes[blanks..]);
    }

    /// Adds a gap.
    pub(super) fn gap(&mut self) {
        (self.after_break, self.is_behind_other) = (false, false);
        // No byte of a hit is a gap, so nobody asks where it is.
        self.begin_stretch(0, StretchOrigin::EarlierSource { end: 0, novelty: Novelty::Nothing });
        self.bytes.push(GAP);
    }

    /// Whether what is read next stands behind something that was left out or decoded.
    pub(super) fn is_between(&self) -> bool {
        self.after_break || self.is_behind_other
    }

    /// What a byte is made of.
    pub(super) fn made_of(&self, place: usize) -> MadeOf {
        let (index, place) = (self.stretch(place), short(place));
        let Stretch { at, from, origin } = self.stretches[index];
        let within = place - at;
        let above = |first: u32, last: u32| MadeOf::Above { first: first as usize, last: last as usize };
        match origin {
            StretchOrigin::Source => MadeOf::Source { start: from + within, end: from + within + 1 },
            StretchOrigin::EarlierSource { end, .. } => MadeOf::Source { start: from, end },
            StretchOrigin::Copied { .. } => above(from + within, from + within),
            StretchOrigin::Escapes { length } => {
                let first = from + within * length;
                above(first, first + length - 1)
            }
            StretchOrigin::Digits { digits, left_out } => {
                let first = from as usize + digits.first_of(usize::from(left_out) + within as usize);
                MadeOf::Above { first, last: first + 1 }
            }
        }
    }

    /// Whether a run of digits is none of the layer above too, from its first digit to its last. `begins`: it does not
    /// go on from an earlier batch.
    pub(super) fn has_news(&self, run: Range<usize>, begins: bool) -> bool {
        if !self.is_unescaped || run.is_empty() {
            return !self.is_unescaped;
        }
        let (start, end) = (short(run.start), short(run.end));
        let mut within = self.stretches[self.stretch(run.start)..].iter().take_while(|stretch| stretch.at < end);
        within.any(|stretch| match stretch.novelty() {
            Novelty::Nothing => false,
            Novelty::Moved => stretch.at > start || (stretch.at == start && !begins),
            Novelty::CutOff => stretch.at >= start,
            Novelty::Decoded => true,
        })
    }

    /// Bytes of the first `read` since the last one that differs from the layer above; `None` if none does.
    pub(super) fn quiet(&self, read: usize) -> Option<usize> {
        let read = short(read);
        let until = self.stretches.partition_point(|stretch| stretch.at < read);
        let last = self.stretches[..until].iter().rposition(|stretch| stretch.novelty() != Novelty::Nothing)?;
        let place = match self.stretches[last].novelty() {
            // All its bytes are decoded, the last of them too.
            Novelty::Decoded => self.stretches[..until].get(last + 1).map_or(read, |next| next.at) - 1,
            Novelty::CutOff | Novelty::Moved | Novelty::Nothing => self.stretches[last].at,
        };
        Some((read - 1 - place) as usize)
    }

    /// The byte at a place, which begins and ends in the source as given, for the next batch.
    pub(super) fn waiting(&self, place: usize, byte: u8, start: u32, end: u32) -> HeldByte {
        let stretch = &self.stretches[self.stretch(place)];
        let novelty = match stretch.novelty() {
            // Only the first byte of a stretch stands behind another one.
            Novelty::CutOff | Novelty::Moved if stretch.at != short(place) => Novelty::Nothing,
            novelty => novelty,
        };
        HeldByte { byte, start, end, novelty }
    }

    /// Forgets what was read, and begins the next batch with what waits.
    pub(super) fn settle(&mut self, waiting: &mut Vec<HeldByte>) {
        self.bytes.clear();
        self.stretches.clear();
        // There may be thousands of layers, and each may have been large once.
        self.bytes.shrink_to(KEPT_BYTES);
        self.stretches.shrink_to(KEPT_STRETCHES);
        self.may_escape = false;
        for HeldByte { byte, start, end, novelty } in waiting.drain(..) {
            self.may_escape |= begins_escape(byte);
            self.begin_stretch(start, StretchOrigin::EarlierSource { end, novelty });
            self.bytes.push(byte);
        }
    }

    /// The stretch that holds the byte at a place.
    fn stretch(&self, place: usize) -> usize {
        let place = short(place);
        self.stretches.partition_point(|stretch| stretch.at <= place) - 1
    }

    /// Adds bytes without those that are left out.
    #[inline]
    fn write(&mut self, bytes: &[u8], origin: impl Fn(usize) -> (u32, StretchOrigin)) {
        self.may_escape |= first_escape(bytes, 0).is_some();
        let is_whole = first_left_out(bytes, 0).is_none();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.leaves_out(byte) {
                at += 1;
                continue;
            }
            let next = if is_whole { None } else { first_left_out(bytes, at) };
            let end = next.unwrap_or(bytes.len());
            let (from, origin) = origin(at);
            self.begin_stretch(from, origin);
            self.bytes.extend_from_slice(&bytes[at..end]);
            at = end;
        }
    }

    /// Whether the next byte is left out, which is noted.
    #[inline]
    fn leaves_out(&mut self, byte: u8) -> bool {
        match byte {
            0 => {}
            b'\r' | b'\n' => self.after_break = true,
            b' ' | b'\t' if self.after_break => {}
            _ => {
                self.after_break = false;
                return false;
            }
        }
        true
    }

    /// Whether an escape of so many bytes that begins at `from` stands behind those that the last stretch is made of.
    #[inline]
    fn goes_on_with_escape(&self, from: u32, length: u32) -> bool {
        self.stretches.last().is_some_and(|last| {
            matches!(last.origin, StretchOrigin::Escapes { length: each } if each == length)
                && last.from + (short(self.bytes.len()) - last.at) * length == from
        })
    }

    #[inline]
    fn begin_stretch(&mut self, from: u32, origin: StretchOrigin) {
        self.stretches.push(Stretch { at: short(self.bytes.len()), from, origin });
    }
}

impl Stretch {
    /// How the bytes differ from the layer above, if this is one of an unescaped layer; only the first of those that
    /// stand behind another byte does.
    fn novelty(&self) -> Novelty {
        match self.origin {
            StretchOrigin::EarlierSource { novelty, .. } => novelty,
            StretchOrigin::Copied { first } => first,
            StretchOrigin::Source | StretchOrigin::Escapes { .. } | StretchOrigin::Digits { .. } => Novelty::Decoded,
        }
    }
}

/// The first byte at or after a place that no layer has, except between two runs.
#[inline]
pub(super) fn first_left_out(text: &[u8], from: usize) -> Option<usize> {
    memchr3(0, b'\r', b'\n', &text[from..]).map(|place| from + place)
}

/// A place in a batch or in the source, which are shorter than 4 GiB.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "longer texts are not searched")]
fn short(place: usize) -> u32 {
    place as u32
}
