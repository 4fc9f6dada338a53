//! Content codings: what an answer is packed with, and its bytes unpacked. The HTTP library is built without its
//! decoders: where a header stands twice they would decode by the first value and remove them all, and what is still
//! packed could not be told from what is plain.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _};

/// Codings that requests ask for.
pub(super) const ACCEPTED: &str = "gzip, br, zstd, deflate";

/// Largest window of zstd, as a power of two: 8 MiB, the most that RFC 9659 allows in HTTP. The library would take
/// 128 MiB for one answer.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Most parts of an answer. Each has a decoder of its own, and may hold nothing.
const PARTS_MAX: u32 = 1_000;

/// Bytes by which a part is told from what is none: those of zstd's magic number.
const BEGINNING_BYTES: u64 = 4;

/// What every member of gzip begins with: its magic number, and deflate, the only method there is (RFC 1952).
const GZIP_MEMBER: [u8; 3] = [0x1f, 0x8b, 8];

/// What a frame of zstd begins with (RFC 8878, 3.1.1).
const ZSTD_FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A coding that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
    /// RFC 1950, as RFC 9110 means it.
    Deflate,
}

impl Coding {
    /// The coding of an answer that has exactly one, in all lines of its header together. An answer with another one,
    /// or with several, has none that is decoded: its headers stay, and what they name is refused.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        match codings(headers).as_slice() {
            [one] => Self::named(one),
            _ => None,
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "gzip" => Some(Self::Gzip),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// Name of the coding in HTTP.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
        }
    }

    /// Whether a further part begins with these bytes: a member of gzip, or a frame of zstd, also one that is skipped
    /// (RFC 8878, 3.1.2). What the other codings pack has one part.
    fn goes_on_with(self, beginning: &[u8]) -> bool {
        match self {
            Self::Gzip => beginning.starts_with(&GZIP_MEMBER),
            Self::Zstd => {
                beginning.starts_with(&ZSTD_FRAME) || matches!(beginning, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
            }
            Self::Brotli | Self::Deflate => false,
        }
    }

    /// The unpacked bytes of one part.
    fn unpacked<'a>(self, packed: impl AsyncBufRead + Send + Unpin + 'a) -> Box<dyn AsyncRead + Send + Unpin + 'a> {
        match self {
            Self::Gzip => Box::new(GzipDecoder::new(packed)),
            Self::Brotli => Box::new(BrotliDecoder::new(packed)),
            Self::Deflate => Box::new(ZlibDecoder::new(packed)),
            Self::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX);
                Box::new(ZstdDecoder::with_params(packed, &[window]))
            }
        }
    }
}

/// The packed bytes of an answer, part by part: members of gzip, or frames of zstd, one behind the other. All of them
/// are one text.
///
/// What stands behind a part is a further one if it begins as one, and then it must be whole. Anything else is no part
/// of the answer, whatever the coding: padding, or what a server adds. It is read, so that the connection can be kept,
/// and left out, as browsers do.
pub(super) struct Parts<R> {
    coding: Coding,
    packed: R,
    /// The first bytes of what is read next.
    beginning: Vec<u8>,
    /// Number of parts so far.
    count: u32,
}

impl<R: AsyncBufRead + Send + Unpin> Parts<R> {
    pub(super) fn new(coding: Coding, packed: R) -> Self {
        Self { coding, packed, beginning: Vec::new(), count: 0 }
    }

    /// The next part, unpacked, to be read to its end; `None` if there is no further one.
    ///
    /// # Errors
    /// [`TooManyParts`], or what reading the packed bytes ended with.
    pub(super) async fn next_part(&mut self) -> io::Result<Option<Box<dyn AsyncRead + Send + Unpin + '_>>> {
        self.beginning.clear();
        (&mut self.packed).take(BEGINNING_BYTES).read_to_end(&mut self.beginning).await?;
        // The answers to HEAD, and with 304, name a coding and have no body. Any other one begins with a part.
        let is_part = !self.beginning.is_empty() && (self.count == 0 || self.coding.goes_on_with(&self.beginning));
        if !is_part {
            self.leave_out_the_rest().await?;
            return Ok(None);
        }
        if self.count == PARTS_MAX {
            return Err(io::Error::other(TooManyParts(PARTS_MAX)));
        }
        self.count += 1;
        Ok(Some(self.coding.unpacked(self.beginning.as_slice().chain(&mut self.packed))))
    }

    async fn leave_out_the_rest(&mut self) -> io::Result<()> {
        loop {
            let rest = self.packed.fill_buf().await?.len();
            if rest == 0 {
                return Ok(());
            }
            self.packed.consume(rest);
        }
    }
}

/// An answer has more parts than an answer may have.
#[derive(Debug, thiserror::Error)]
#[error("it has more than {0} members or frames")]
struct TooManyParts(u32);

/// Names of all codings of an answer in lower case, without those that change nothing.
pub(super) fn codings(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let names = texts.flat_map(|text| text.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>());
    names.filter(|name| !name.is_empty() && name != "identity").collect()
}

/// An answer has more packed bytes than an answer may have: some codings have blocks that unpack to nothing.
#[derive(Debug, thiserror::Error)]
#[error("the answer has more packed bytes than allowed")]
pub(super) struct TooManyPacked;

/// Counts an answer by its packed or its unpacked bytes, whichever are more.
pub(super) struct PackedMeter<'a> {
    received: &'a AtomicU64,
    packed: AtomicU64,
    unpacked: AtomicU64,
    packed_max: u64,
}

impl<'a> PackedMeter<'a> {
    /// A meter that adds to `received`, and accepts `packed_max` packed bytes.
    pub(super) fn new(received: &'a AtomicU64, packed_max: u64) -> Self {
        Self { received, packed: AtomicU64::new(0), unpacked: AtomicU64::new(0), packed_max }
    }

    /// Counts packed bytes.
    ///
    /// # Errors
    /// [`TooManyPacked`] if there are too many.
    pub(super) fn packed(&self, bytes: usize) -> io::Result<()> {
        let packed = self.add(&self.packed, bytes);
        if packed > self.packed_max { Err(io::Error::other(TooManyPacked)) } else { Ok(()) }
    }

    /// Counts unpacked bytes.
    pub(super) fn unpacked(&self, bytes: usize) {
        self.add(&self.unpacked, bytes);
    }

    fn add(&self, count: &AtomicU64, bytes: usize) -> u64 {
        let most = || self.packed.load(Ordering::Relaxed).max(self.unpacked.load(Ordering::Relaxed));
        let before = most();
        let all = count.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        self.received.fetch_add(most() - before, Ordering::Relaxed);
        all
    }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
    use reqwest::header::HeaderValue;
    use tokio::io::BufReader;

    use super::*;

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Brotli, Coding::Zstd, Coding::Deflate];

    async fn packed(coding: Coding, text: &[u8]) -> Vec<u8> {
        let mut encoder: Box<dyn AsyncRead + Unpin + '_> = match coding {
            Coding::Gzip => Box::new(GzipEncoder::new(text)),
            Coding::Brotli => Box::new(BrotliEncoder::new(text)),
            Coding::Zstd => Box::new(ZstdEncoder::new(text)),
            Coding::Deflate => Box::new(ZlibEncoder::new(text)),
        };
        let mut packed = Vec::new();
        encoder.read_to_end(&mut packed).await.expect("packed");
        packed
    }

    /// The text of an answer of which so many bytes come at once.
    async fn unpacked(coding: Coding, answer: &[u8], at_once: usize) -> io::Result<Vec<u8>> {
        let mut parts = Parts::new(coding, BufReader::with_capacity(at_once, answer));
        let mut text = Vec::new();
        while let Some(mut part) = parts.next_part().await? {
            part.read_to_end(&mut text).await?;
        }
        Ok(text)
    }

    #[tokio::test]
    async fn what_is_no_part_is_left_out_whatever_the_coding() {
        for coding in ALL {
            let text = packed(coding, b"numbers").await;
            for behind in [
                &b""[..],
                b"\n",
                b"\0\0\0\0\0\0\0\0",
                b"\x1f",
                b"\x1f\x8b",
                b"\x1f\x1f\x1f\x1f\x1f",
                b"\x1f and so on",
                b"(\xb5/",
                b"(\xb5/ and so on",
                b"P*M and so on",
                b"{\"and\":\"so on\"}",
            ] {
                for at_once in [1, 3, 4_096] {
                    let answer = [text.as_slice(), behind].concat();
                    let read = unpacked(coding, &answer, at_once).await;
                    let shown = || format!("{} before {}, {at_once} at once", coding.name(), behind.escape_ascii());
                    assert_eq!(read.unwrap_or_else(|error| panic!("{}: {error}", shown())), b"numbers", "{}", shown());
                }
            }
            assert_eq!(unpacked(coding, b"", 4_096).await.expect("no body"), b"", "{}", coding.name());
        }
    }

    #[tokio::test]
    async fn all_parts_are_one_text_and_each_has_to_be_whole() {
        // A frame that is skipped, with five bytes.
        let skipped = b"\x5a*M\x18\x05\0\0\0hello".to_vec();
        for (coding, between) in [(Coding::Gzip, packed(Coding::Gzip, b"").await), (Coding::Zstd, skipped)] {
            let [first, second] = [packed(coding, b"num").await, packed(coding, b"bers").await];
            let parts = [&between[..], &first, &between, &second, &between, b"\n"].concat();
            for at_once in [1, 3, 4_096] {
                let text = unpacked(coding, &parts, at_once).await;
                assert_eq!(text.unwrap_or_else(|error| panic!("{}: {error}", coding.name())), b"numbers");
            }
            for cut in 4..second.len() {
                let parts = [&first[..], &second[..cut]].concat();
                assert!(unpacked(coding, &parts, 4_096).await.is_err(), "{} cut at {cut}", coding.name());
            }
            let false_one = [&first[..], &second[..4], b" and no more than that"].concat();
            assert!(unpacked(coding, &false_one, 4_096).await.is_err(), "{}", coding.name());
        }
        for coding in [Coding::Brotli, Coding::Deflate] {
            let twice = packed(coding, b"numbers").await.repeat(2);
            assert_eq!(unpacked(coding, &twice, 4_096).await.expect("unpacked"), b"numbers", "{}", coding.name());
        }
    }

    #[test]
    fn an_answer_has_one_coding_or_none_that_is_decoded() {
        let of = |lines: &'static str| {
            let mut headers = HeaderMap::new();
            for line in lines.split('|') {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(line));
            }
            Coding::of(&headers)
        };
        assert_eq!(Coding::of(&HeaderMap::new()), None);
        for (lines, expected) in [
            ("", None),
            ("identity", None),
            ("gzip", Some(Coding::Gzip)),
            (" BR ", Some(Coding::Brotli)),
            ("identity|zstd", Some(Coding::Zstd)),
            ("deflate,, identity", Some(Coding::Deflate)),
            ("gzip|gzip", None),
            ("gzip|br", None),
            ("gzip, deflate", None),
            ("identity|gzip, zstd", None),
            ("x-gzip", None),
            ("gzip|compress", None),
        ] {
            assert_eq!(of(lines), expected, "{lines}");
        }
        for name in ACCEPTED.split(", ") {
            assert_eq!(Coding::named(name).map(Coding::name), Some(name));
        }
    }

    #[test]
    fn bytes_that_unpack_to_nothing_count_and_end() {
        let received = AtomicU64::new(5);
        let meter = PackedMeter::new(&received, 100);
        meter.packed(10).expect("few");
        meter.unpacked(4);
        assert_eq!(received.load(Ordering::Relaxed), 15, "the packed ones are more");
        meter.unpacked(30);
        assert_eq!(received.load(Ordering::Relaxed), 39, "the unpacked ones are more");
        meter.packed(90).expect("as many as allowed");
        assert!(meter.packed(1).is_err());
        assert_eq!(received.load(Ordering::Relaxed), 106);
    }
}
