//! Finds secrets in bytes and blanks them out.
//!
//! A secret is found in every form in which a platform or a connector may write it: as it is, with escapes (percent,
//! JSON, HTML), in hexadecimal, in base64 at any offset, in UTF-16, over folded lines, and in up to four of these, one
//! inside the other. Upper and lower case are the same, since host names and header names lose their case on the way.
//! [docs/security.md](../../../../docs/security.md) lists the forms and what is not found.
//!
//! `first_pass` rules out most texts. `layers` decodes: `inbox` are the bytes of a layer, `escapes` reads one escape,
//! and the files inside `layers` decode runs of `digits` and search a layer for the `patterns`. `windows` finds where
//! these may begin. `plain` makes of a whole text what a layer is.

mod digits;
mod escapes;
mod first_pass;
mod inbox;
mod layers;
mod patterns;
mod plain;
mod windows;

use std::ops::ControlFlow;

use layers::Search;
use patterns::Patterns;

/// Text that replaces a secret.
pub(super) const BLANK: &str = "[secret]";

/// Bytes that are searched before others get their turn on the thread: about a millisecond's work.
const SLICE_BYTES: usize = 32 * 1024;

/// Texts of up to this length, in bytes, that the first pass leaves are searched together. Nearly all of a connector's
/// are short and hold no secret, and a search of its own for each costs more than the reading.
const JOINED_BYTES_MAX: usize = 4 * 1024;

/// Stands between texts that are searched together. It belongs to no secret and to no encoding of one, so nothing is
/// found across two texts, and nothing is missed because of what stands beside it.
const BETWEEN: u8 = 1;

/// Most bytes of one text that can be searched. More are blanked out as a whole; the gateway's limits are far below.
const TEXT_BYTES_MAX: usize = u32::MAX as usize - 1;

/// The secrets of one session, prepared for search.
pub(super) struct SecretMatcher {
    patterns: Option<Patterns>,
}

impl SecretMatcher {
    /// Prepares these values. Empty values are ignored.
    pub(super) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        Self { patterns: Patterns::new(values) }
    }

    /// Whether any secret occurs in any form. For short texts: the thread does nothing else meanwhile.
    pub(super) fn occur_in(&self, bytes: &[u8]) -> bool {
        !self.ranges(bytes).is_empty()
    }

    /// Whether any secret occurs in any form. Lets others run in between.
    pub(super) async fn occur_in_body(&self, bytes: &[u8]) -> bool {
        !self.ranges_in_slices(bytes).await.is_empty()
    }

    /// The bytes with every secret replaced, and whether there was one. Lets others run in between.
    pub(super) async fn blank(&self, bytes: Vec<u8>) -> (Vec<u8>, bool) {
        let ranges = self.ranges_in_slices(&bytes).await;
        if ranges.is_empty() { (bytes, false) } else { (without(&bytes, &ranges), true) }
    }

    /// Replaces every secret in these texts. Lets others run in between.
    pub(super) async fn blank_all(&self, texts: Vec<&mut String>) {
        let Some(patterns) = &self.patterns else { return };
        let (mut read, mut left, mut joined) = (0, Vec::new(), Vec::new());
        for text in texts {
            read += text.len();
            if read > SLICE_BYTES {
                read = 0;
                tokio::task::yield_now().await;
            }
            if !first_pass::may_hold(patterns, text.as_bytes()) {
                continue;
            }
            if text.len() <= JOINED_BYTES_MAX {
                joined.extend_from_slice(text.as_bytes());
                joined.push(BETWEEN);
            }
            left.push(text);
        }
        if left.is_empty() {
            return;
        }
        let some_hold_one = self.occur_in_body(&joined).await;
        for text in left {
            if some_hold_one || text.len() > JOINED_BYTES_MAX {
                let (bytes, _) = self.blank(std::mem::take(text).into_bytes()).await;
                *text = text_of(bytes);
            }
        }
    }

    /// The bytes with every secret replaced. For short texts.
    pub(super) fn blank_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        without(bytes, &self.ranges(bytes))
    }

    /// The text with every secret replaced. For short texts.
    pub(super) fn blank_text(&self, text: &str) -> String {
        self.blank_lossy(text.as_bytes())
    }

    /// The bytes as text with every secret replaced, and what is no UTF-8 too. For short texts.
    pub(super) fn blank_lossy(&self, bytes: &[u8]) -> String {
        text_of(self.blank_bytes(bytes))
    }

    /// The ranges that hold secrets, in order and without overlap.
    fn ranges(&self, bytes: &[u8]) -> Vec<(u32, u32)> {
        let mut search = match self.begin(bytes) {
            ControlFlow::Continue(search) => search,
            ControlFlow::Break(ranges) => return ranges,
        };
        search.read(bytes);
        search.finish().0
    }

    /// The same. Lets others run in between.
    async fn ranges_in_slices(&self, bytes: &[u8]) -> Vec<(u32, u32)> {
        let mut search = match self.begin(bytes) {
            ControlFlow::Continue(search) => search,
            ControlFlow::Break(ranges) => return ranges,
        };
        for (index, slice) in bytes.chunks(SLICE_BYTES).enumerate() {
            if index > 0 {
                tokio::task::yield_now().await;
            }
            search.read(slice);
        }
        search.finish().0
    }

    /// The search of these bytes, or the ranges where they are known without one.
    fn begin(&self, bytes: &[u8]) -> ControlFlow<Vec<(u32, u32)>, Search<'_>> {
        match &self.patterns {
            None => ControlFlow::Break(Vec::new()),
            Some(_) if bytes.len() > TEXT_BYTES_MAX => ControlFlow::Break(vec![(0, u32::MAX)]),
            Some(patterns) if first_pass::may_hold(patterns, bytes) => ControlFlow::Continue(Search::new(patterns)),
            Some(_) => ControlFlow::Break(Vec::new()),
        }
    }
}

/// The bytes as text, with what is no UTF-8 replaced.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The bytes without these ranges, which are in order and do not overlap.
fn without(bytes: &[u8], ranges: &[(u32, u32)]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(bytes.len());
    let mut copied = 0;
    for &(start, end) in ranges {
        let (start, end) = (start as usize, if end == u32::MAX { bytes.len() } else { end as usize });
        clean.extend_from_slice(&bytes[copied..start]);
        clean.extend_from_slice(BLANK.as_bytes());
        copied = end;
    }
    clean.extend_from_slice(&bytes[copied..]);
    clean
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
