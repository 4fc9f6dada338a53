//! What goes wrong on request: which requests meet a fault, and what it does to the answer.

use std::io::Write as _;

use axum::body::{Body, Bytes};
use chrono::{DateTime, Utc};
use flate2::write::GzEncoder;
use flate2::{Compression, Crc, FlushCompress};
use futures::stream;
use serde::{Deserialize, Serialize};

use crate::server::Reply;

/// One rule. The first rule that fits a request and is not used up decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only this host; every host if absent.
    #[serde(default)]
    pub host: Option<String>,
    /// Only paths that start with this.
    #[serde(default)]
    pub path_prefix: Option<String>,
    /// Only requests that name this: in the target, in the body, or as the platform id their token belongs to.
    #[serde(default)]
    pub contains: Option<String>,
    /// Requests that fit and are let through first: 2 means that the third one is the first to fail.
    #[serde(default)]
    pub after: u64,
    /// After those, each n-th request that fits; 0 and 1 mean every one.
    #[serde(default)]
    pub every: u64,
    /// How often it happens; no end if absent.
    #[serde(default)]
    pub times: Option<u64>,
    /// What happens.
    pub kind: FaultKind,
}

impl Fault {
    /// A fault that meets every request to every host, for ever.
    #[must_use]
    pub fn always(kind: FaultKind) -> Self {
        Self { host: None, path_prefix: None, contains: None, after: 0, every: 0, times: None, kind }
    }

    /// A fault that meets the next request, once.
    #[must_use]
    pub fn once(kind: FaultKind) -> Self {
        Self { times: Some(1), ..Self::always(kind) }
    }

    /// On this host only.
    #[must_use]
    pub fn on_host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// On paths that start so only.
    #[must_use]
    pub fn on_path(mut self, prefix: &str) -> Self {
        self.path_prefix = Some(prefix.to_owned());
        self
    }

    /// On requests that name this only.
    #[must_use]
    pub fn naming(mut self, text: &str) -> Self {
        self.contains = Some(text.to_owned());
        self
    }

    /// After letting so many through.
    #[must_use]
    pub fn after(mut self, requests: u64) -> Self {
        self.after = requests;
        self
    }

    /// Each n-th one.
    #[must_use]
    pub fn every(mut self, requests: u64) -> Self {
        self.every = requests;
        self
    }

    /// So many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }
}

/// What happens to a request that meets a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// The real answer comes later.
    Latency {
        /// Milliseconds of real time.
        ms: u64,
    },
    /// No answer ever comes; the connection stays open.
    Hang,
    /// 429 in the platform's own shape.
    TooManyRequests {
        /// The header's form.
        #[serde(default)]
        retry_after: RetryAfter,
    },
    /// Spotify's other 429: the quota of the developer account is used up.
    SpotifyQuotaExceeded,
    /// Another status, in the platform's own error shape.
    Status {
        /// The status.
        status: u16,
        /// A `Retry-After` header with it.
        #[serde(default)]
        retry_after: RetryAfter,
    },
    /// Status, content type and body as given.
    Raw {
        /// The status.
        status: u16,
        /// The content type.
        content_type: String,
        /// The body.
        body: String,
    },
    /// The connection is reset before any answer.
    Reset,
    /// The connection is reset after half the body.
    ResetMidBody,
    /// A complete answer whose JSON breaks off half-way.
    TruncatedJson,
    /// An HTML page, as gateways in front of APIs send it.
    Html {
        /// The status.
        status: u16,
    },
    /// A redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where to.
        to: RedirectTarget,
    },
    /// A body of so many bytes, without `Content-Length`.
    HugeBody {
        /// Bytes.
        bytes: u64,
    },
    /// The real answer, gzip-compressed.
    Gzip,
    /// Zeros, compressed a thousandfold.
    GzipBomb {
        /// Bytes after decompression, rounded up to whole MiB.
        bytes: u64,
    },
}

/// The forms of `Retry-After`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// No such header.
    #[default]
    Absent,
    /// Seconds.
    Seconds(u64),
    /// An HTTP date.
    HttpDate(DateTime<Utc>),
}

impl RetryAfter {
    fn header(self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Seconds(seconds) => Some(seconds.to_string()),
            Self::HttpDate(at) => Some(at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()),
        }
    }
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectTarget {
    /// The same origin and target, query included; an absolute URL.
    SameOrigin,
    /// The same target on another origin, such as `https://api.instagram.com`.
    OtherOrigin(String),
    /// The metadata service of a cloud: an address that is not public.
    NonPublic,
    /// Whatever is given.
    Location(String),
}

/// The rules, and how often each has fitted and happened.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<(Fault, u64, u64)>,
}

impl Faults {
    pub fn new(faults: Vec<Fault>) -> Self {
        Self { rules: faults.into_iter().map(|fault| (fault, 0, 0)).collect() }
    }

    /// The fault a request meets. `names` tells whether the request names a text; it is asked only where it matters.
    pub fn meet(&mut self, host: &str, path: &str, names: impl Fn(&str) -> bool) -> Option<FaultKind> {
        for (fault, fitted, happened) in &mut self.rules {
            let fits = fault.host.as_deref().is_none_or(|wanted| wanted == host)
                && fault.path_prefix.as_deref().is_none_or(|prefix| path.starts_with(prefix))
                && fault.times.is_none_or(|times| *happened < times)
                && fault.contains.as_deref().is_none_or(&names);
            if !fits {
                continue;
            }
            *fitted += 1;
            let due = *fitted > fault.after && (*fitted - fault.after - 1).is_multiple_of(fault.every.max(1));
            if due {
                *happened += 1;
                return Some(fault.kind.clone());
            }
        }
        None
    }
}

/// The `Retry-After` header as a list of headers.
pub(crate) fn retry_after(form: RetryAfter) -> Vec<(&'static str, String)> {
    form.header().map(|value| ("retry-after", value)).into_iter().collect()
}

/// Where a redirect of a request to `host` and `target` leads.
pub(crate) fn location(to: &RedirectTarget, host: &str, target: &str) -> String {
    match to {
        RedirectTarget::SameOrigin => format!("https://{host}{target}"),
        RedirectTarget::OtherOrigin(origin) => format!("{origin}{target}"),
        RedirectTarget::NonPublic => "http://169.254.169.254/latest/meta-data/".to_owned(),
        RedirectTarget::Location(location) => location.clone(),
    }
}

/// An answer, compressed.
pub(crate) fn gzip(mut reply: Reply) -> Reply {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(&reply.body).and_then(|()| encoder.finish());
    reply.body = written.expect("writing to memory can't fail");
    reply.headers.push(("content-encoding", "gzip".to_owned()));
    reply
}

/// Half a body, and then an error, on which the connection is torn down.
pub(crate) fn half_then_error(body: &[u8]) -> Body {
    let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset on request");
    Body::from_stream(stream::iter([Ok(half), Err(broken)]))
}

const CHUNK_BYTES: usize = 64 * 1024;

/// So many bytes of spaces, made while they are read.
pub(crate) fn huge(bytes: u64) -> Body {
    let chunk = Bytes::from(vec![b' '; CHUNK_BYTES]);
    Body::from_stream(stream::unfold(bytes, move |left| {
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let piece = chunk.slice(..take);
        let rest = left - take as u64;
        async move { (take > 0).then_some((Ok::<_, std::io::Error>(piece), rest)) }
    }))
}

const MEBIBYTE: usize = 1024 * 1024;

/// So many MiB of zeros as one valid gzip member: one compressed MiB, flushed to a byte boundary, again and again.
pub(crate) fn gzip_bomb(bytes: u64) -> Body {
    let mebibytes = bytes.div_ceil(MEBIBYTE as u64);
    let zeros = vec![0_u8; MEBIBYTE];
    let block = Bytes::from(full_flush(&zeros));
    let mut one = Crc::new();
    one.update(&zeros);
    let mut sum = Crc::new();
    for _ in 0..mebibytes {
        sum.combine(&one);
    }
    let head = Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    // An empty final block, the checksum, and the length modulo 2^32.
    let mut tail = vec![0x03, 0x00];
    tail.extend_from_slice(&sum.sum().to_le_bytes());
    tail.extend_from_slice(&sum.amount().to_le_bytes());
    let parts = std::iter::once(head)
        .chain((0..mebibytes).map(move |_| block.clone()))
        .chain(std::iter::once(Bytes::from(tail)));
    Body::from_stream(stream::iter(parts.map(Ok::<_, std::io::Error>)))
}

/// Deflated so that the same bytes can follow once more: nothing in them refers to what came before.
fn full_flush(bytes: &[u8]) -> Vec<u8> {
    let mut compress = flate2::Compress::new(Compression::fast(), false);
    let mut out = Vec::with_capacity(bytes.len() / 16 + 1024);
    let done = compress.compress_vec(bytes, &mut out, FlushCompress::Full);
    done.expect("the buffer is larger than what zeros are compressed to");
    out
}
