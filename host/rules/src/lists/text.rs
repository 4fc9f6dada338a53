//! The bytes of a list as UTF-8 with LF at the end of each line.
//!
//! Spreadsheets write UTF-16 ("Unicode text") and CR alone; shells write UTF-16 where output is redirected. Files that
//! are no text are named by their first bytes. Bytes that are not UTF-8 are passed on: only their record is invalid.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, UTF_16BE, UTF_16LE};

use super::ListError;

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// Bytes by which a file is recognised.
const START: usize = 512;

const SPREADSHEET: &str = "open it in the spreadsheet program, choose Save As (or Export), format \
                           \"CSV UTF-8 (comma delimited) (*.csv)\", one sheet at a time, and give that file";

/// First bytes of files that are no lists, what they are, and how to make a list of one.
const FOREIGN: [(&[u8], &str, &str); 9] = [
    (b"PK\x03\x04", "a spreadsheet (.xlsx, .ods, .numbers) or a zip archive", SPREADSHEET),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a spreadsheet of an old Excel (.xls) or encrypted", SPREADSHEET),
    (b"<?xml", "XML", "export the list as CSV and give that file"),
    (b"%PDF", "a PDF", "export the list as CSV and give that file"),
    (b"{\\rtf", "a formatted text (.rtf)", "save it as plain text in UTF-8 and give that file"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it with gunzip and give the unpacked file"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it with unzstd and give the unpacked file"),
    (b"SQLite format 3\0", "an SQLite database", "read it with `backline artists sync` and sync.url"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself with `git lfs pull`"),
];

/// A reader of decoded text.
pub(super) struct Text<R> {
    input: R,
    /// None where the bytes are UTF-8 already.
    decoder: Option<Decoder>,
    /// Read and not yet passed on.
    ready: Vec<u8>,
    passed: usize,
    ended: bool,
    /// Whether the last character was CR, so that a following LF belongs to it.
    after_cr: bool,
}

impl<R: Read> Text<R> {
    /// Recognises the encoding.
    ///
    /// # Errors
    /// When reading fails, or the file is no text.
    pub(super) fn of(mut input: R) -> Result<Self, ListError> {
        let mut start = Vec::with_capacity(START);
        (&mut input).take(START as u64).read_to_end(&mut start)?;
        let utf8 = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
        if let Some((_, what, remedy)) = FOREIGN.iter().find(|(magic, ..)| utf8.starts_with(magic)) {
            return Err(ListError::Foreign { what, remedy });
        }
        let lower = utf8.trim_ascii_start().to_ascii_lowercase();
        if [b"<!doctype".as_slice(), b"<html", b"<head", b"<table"].iter().any(|tag| lower.starts_with(tag)) {
            let remedy = "download the list itself: the page may be one that asks you to sign in";
            return Err(ListError::Foreign { what: "a web page", remedy });
        }
        let (decoder, mark) = match start.as_slice() {
            [0xff, 0xfe, ..] => (Some(UTF_16LE.new_decoder_without_bom_handling()), 2),
            [0xfe, 0xff, ..] => (Some(UTF_16BE.new_decoder_without_bom_handling()), 2),
            // Without a mark, every other byte of a header in UTF-16 is zero.
            [first, 0, _, 0, ..] if *first != 0 => (Some(UTF_16LE.new_decoder_without_bom_handling()), 0),
            [0, second, 0, _, ..] if *second != 0 => (Some(UTF_16BE.new_decoder_without_bom_handling()), 0),
            _ => (None, start.len() - utf8.len()),
        };
        let binary = decoder.is_none() && start.contains(&0);
        if binary {
            let remedy = "give CSV, a JSON array, or one JSON object per line, in UTF-8";
            return Err(ListError::Foreign { what: "binary", remedy });
        }
        let mut text = Self { input, decoder, ready: Vec::new(), passed: 0, ended: false, after_cr: false };
        let short = start.len() < START;
        text.add(&start[mark..], short)?;
        text.ended = short;
        Ok(text)
    }

    /// Decodes bytes and converts their line ends.
    fn add(&mut self, bytes: &[u8], last: bool) -> io::Result<()> {
        let decoded = match &mut self.decoder {
            None => None,
            Some(decoder) => {
                let mut text = String::with_capacity(bytes.len() * 3 / 2 + 16);
                let mut rest = bytes;
                loop {
                    let (result, read, lossy) = decoder.decode_to_string(rest, &mut text, last);
                    if lossy {
                        let problem = "it is not valid UTF-16; save it as CSV in UTF-8";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
                    }
                    rest = &rest[read..];
                    match result {
                        CoderResult::InputEmpty => break,
                        CoderResult::OutputFull => text.reserve(rest.len() * 3 / 2 + 16),
                    }
                }
                Some(text)
            }
        };
        let bytes = decoded.as_ref().map_or(bytes, |text| text.as_bytes());
        self.ready.drain(..self.passed);
        self.passed = 0;
        for &byte in bytes {
            match byte {
                b'\n' if self.after_cr => {}
                b'\r' => self.ready.push(b'\n'),
                _ => self.ready.push(byte),
            }
            self.after_cr = byte == b'\r';
        }
        Ok(())
    }
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut chunk = [0; CHUNK];
        while self.passed == self.ready.len() && !self.ended {
            match self.input.read(&mut chunk) {
                Ok(read) => {
                    self.ended = read == 0;
                    self.add(&chunk[..read], read == 0)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let count = out.len().min(self.ready.len() - self.passed);
        out[..count].copy_from_slice(&self.ready[self.passed..self.passed + count]);
        self.passed += count;
        Ok(count)
    }
}
