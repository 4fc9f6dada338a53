//! A whole text as a layer has it: without the bytes that layers leave out, and with its escapes decoded.

use std::borrow::Cow;

use super::escapes::{Found, escape_at, first_escape};
use super::inbox::first_left_out;

/// The bytes that a layer keeps of a text, as [`Inbox`](super::inbox::Inbox) leaves out the others.
pub(super) fn kept(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let Some(mut at) = first_left_out(&text, 0) else { return text };
    let mut kept = Vec::with_capacity(text.len());
    kept.extend_from_slice(&text[..at]);
    let mut after_break = false;
    while let Some(&byte) = text.get(at) {
        match byte {
            0 => at += 1,
            b'\r' | b'\n' => (after_break, at) = (true, at + 1),
            b' ' | b'\t' if after_break => at += 1,
            _ => {
                let end = first_left_out(&text, at).unwrap_or(text.len());
                kept.extend_from_slice(&text[at..end]);
                (after_break, at) = (false, end);
            }
        }
    }
    Cow::Owned(kept)
}

/// The text with its escapes decoded, which makes it no longer; `None` if it has none.
pub(super) fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded: Option<Vec<u8>> = None;
    let (mut at, mut copied) = (0, 0);
    while let Some(begin) = first_escape(text, at) {
        match escape_at(text, begin, true) {
            Found::Escape { bytes, length, end } => {
                let decoded = decoded.get_or_insert_with(|| Vec::with_capacity(text.len()));
                decoded.extend_from_slice(&text[copied..begin]);
                decoded.extend_from_slice(&bytes[..length]);
                (at, copied) = (end, end);
            }
            Found::Literal | Found::Incomplete => at = begin + 1,
        }
    }
    let mut decoded = decoded?;
    decoded.extend_from_slice(&text[copied..]);
    Some(decoded)
}
