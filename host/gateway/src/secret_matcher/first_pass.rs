//! The first pass: rules out texts that hold no secret, in less time than it takes to read them byte by byte. The
//! layered search answers for what is left.
//!
//! It may rule out a text only if the layered search finds nothing in it. What that finds stands in a layer, and there
//! are two kinds of these:
//!
//! - Those below the source by escapes alone. They are one text each, at most five in all, and the first pass makes
//!   the same ones: [`kept`] leaves out what a layer leaves out, [`unescaped`] decodes what a layer decodes. Most texts
//!   have one or two of them. Each is searched for the beginnings of all secrets
//!   ([`Windows`](super::windows::Windows)).
//! - Those below a run of digits of one of the first kind. A run too short for the shortest secret holds none, however
//!   it is decoded further. The others are few, and the layered search reads them alone: nothing is found across the
//!   border of a run.

use std::borrow::Cow;

use super::digits::Digits;
use super::inbox::DECODINGS_MAX;
use super::layers::Search;
use super::patterns::Patterns;
use super::plain::{kept, unescaped};
use super::{BETWEEN, SLICE_BYTES};

/// Longest text that is looked at, in bytes: it takes about a millisecond, and a few if it has escapes all over, in
/// which the thread does nothing else. A page of fifty channels has about 200 KiB.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Whether the text may hold a secret. `false` is certain: then the layered search finds nothing in it.
pub(super) fn may_hold(patterns: &Patterns, source: &[u8]) -> bool {
    let Some(windows) = patterns.windows.as_ref().filter(|_| source.len() <= TEXT_BYTES_MAX) else { return true };
    // Digits of hexadecimal are digits of base64 too, and more of them are needed.
    let digits_min = patterns.digits_min(Digits::Base64);
    let digits_max = (source.len() / 2).min(SLICE_BYTES);
    let mut runs: Vec<u8> = Vec::new();
    let mut text = kept(Cow::Borrowed(source));
    for decodings in 0..=DECODINGS_MAX {
        if !windows.rule_out(&text) {
            return true;
        }
        // What is below the deepest layer is not searched.
        if decodings == DECODINGS_MAX {
            break;
        }
        let mut from = 0;
        while let Some(run) = Digits::Base64.next_run(&text, from, digits_min) {
            from = run.end;
            if runs.len() + run.len() > digits_max {
                return true;
            }
            runs.extend_from_slice(&text[run]);
            runs.push(BETWEEN);
        }
        let Some(decoded) = unescaped(&text) else { break };
        text = kept(Cow::Owned(decoded));
    }
    if runs.is_empty() {
        return false;
    }
    let mut search = Search::new(patterns);
    search.read(&runs);
    !search.finish().0.is_empty()
}
