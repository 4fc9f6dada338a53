//! Content codings: what an answer is packed with, and its bytes unpacked. The HTTP library is built without its
//! decoders: where a header stands twice they would decode by the first value and remove them all, and what is still
//! packed could not be told from what is plain.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use tokio::io::{AsyncBufRead, AsyncRead};

/// Codings that requests ask for.
pub(super) const ACCEPTED: &str = "gzip, br, zstd, deflate";

/// Largest window of zstd, as a power of two: 8 MiB, the most that RFC 9659 allows in HTTP. The library would take
/// 128 MiB for one answer.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The first byte of a member of gzip.
const GZIP_FIRST_BYTE: u8 = 0x1f;

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

    /// Whether what follows the end of packed bytes is more of them (RFC 1952): gzip is one member after the other.
    /// Anything else behind it is no part of the answer, such as padding. The decoder of zstd goes on by itself, and
    /// what the others read ends once.
    pub(super) fn goes_on_with(self, rest: &[u8]) -> bool {
        self == Self::Gzip && rest.first() == Some(&GZIP_FIRST_BYTE)
    }

    /// The unpacked bytes of packed ones; of gzip, those of one member.
    pub(super) fn unpacked<'a>(
        self,
        packed: impl AsyncBufRead + Send + Unpin + 'a,
    ) -> Box<dyn AsyncRead + Send + Unpin + 'a> {
        match self {
            Self::Gzip => Box::new(GzipDecoder::new(packed)),
            Self::Brotli => Box::new(BrotliDecoder::new(packed)),
            Self::Deflate => Box::new(ZlibDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = ZstdDecoder::with_params(packed, &[DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)]);
                decoder.multiple_members(true);
                Box::new(decoder)
            }
        }
    }
}

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
    use reqwest::header::HeaderValue;

    use super::*;

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
