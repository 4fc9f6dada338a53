//! Injected faults: which requests meet a fault, and how it changes the response.

use std::io::Write as _;

use axum::body::{Body, Bytes};
use chrono::{DateTime, Utc};
use flate2::write::GzEncoder;
use flate2::{Compression, Crc, FlushCompress};
use futures::stream;
use serde::{Deserialize, Serialize};

use crate::message::Reply;

/// One rule. The first rule that matches a request and is not used up applies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Matches only requests to this host; every host if absent.
    #[serde(default)]
    pub host: Option<String>,
    /// Matches only paths with this prefix.
    #[serde(default)]
    pub path_prefix: Option<String>,
    /// Matches only requests with this text in the target or body, or with a token of this platform id.
    #[serde(default)]
    pub contains: Option<String>,
    /// How many matching requests pass first: with 2, the third one meets the fault.
    #[serde(default)]
    pub after: u64,
    /// After those, every n-th matching request meets the fault; 0 and 1 mean every request.
    #[serde(default)]
    pub every: u64,
    /// How often the fault happens; without limit if absent.
    #[serde(default)]
    pub times: Option<u64>,
    /// The kind of fault.
    pub kind: FaultKind,
}

impl Fault {
    /// A fault for every request to every host, without limit.
    #[must_use]
    pub fn always(kind: FaultKind) -> Self {
        Self { host: None, path_prefix: None, contains: None, after: 0, every: 0, times: None, kind }
    }

    /// A fault for the next request only.
    #[must_use]
    pub fn once(kind: FaultKind) -> Self {
        Self { times: Some(1), ..Self::always(kind) }
    }

    /// Restricts the fault to a host.
    #[must_use]
    pub fn on_host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Restricts the fault to paths with a prefix.
    #[must_use]
    pub fn on_path(mut self, prefix: &str) -> Self {
        self.path_prefix = Some(prefix.to_owned());
        self
    }

    /// Restricts the fault to requests that contain a text, as in [`Fault::contains`].
    #[must_use]
    pub fn naming(mut self, text: &str) -> Self {
        self.contains = Some(text.to_owned());
        self
    }

    /// Lets a number of matching requests pass first.
    #[must_use]
    pub fn after(mut self, requests: u64) -> Self {
        self.after = requests;
        self
    }

    /// Applies the fault to every n-th matching request.
    #[must_use]
    pub fn every(mut self, requests: u64) -> Self {
        self.every = requests;
        self
    }

    /// Limits how often the fault happens.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }
}

/// What a fault does to the response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// Delays the real response.
    Latency {
        /// Delay in milliseconds of real time.
        ms: u64,
    },
    /// Never responds; the connection stays open.
    Hang,
    /// Responds with status 429 in the platform's error shape.
    TooManyRequests {
        /// Form of the `Retry-After` header.
        #[serde(default)]
        retry_after: RetryAfter,
    },
    /// Responds with Spotify's 429 for a spent quota of the developer account.
    SpotifyQuotaExceeded,
    /// Responds with another status in the platform's error shape.
    Status {
        /// HTTP status of the response.
        status: u16,
        /// Form of the `Retry-After` header.
        #[serde(default)]
        retry_after: RetryAfter,
    },
    /// Responds with a given status, content type and body.
    Raw {
        /// HTTP status of the response.
        status: u16,
        /// Value of the `Content-Type` header.
        content_type: String,
        /// Body of the response.
        body: String,
    },
    /// Resets the connection before the response.
    Reset,
    /// Resets the connection after half of the body.
    ResetMidBody,
    /// Sends a complete response whose JSON is truncated.
    TruncatedJson,
    /// Responds with an HTML page, as gateways in front of APIs do.
    Html {
        /// HTTP status of the response.
        status: u16,
    },
    /// Responds with a redirect.
    Redirect {
        /// HTTP status of the redirect: 301, 302, 303, 307 or 308.
        status: u16,
        /// Target of the redirect.
        to: RedirectTarget,
    },
    /// Sends a large body without `Content-Length`.
    HugeBody {
        /// Size of the body in bytes.
        bytes: u64,
    },
    /// Sends the real response compressed with gzip.
    Gzip,
    /// Sends zeros compressed about 1000 to 1.
    GzipBomb {
        /// Size after decompression in bytes, rounded up to whole MiB.
        bytes: u64,
    },
}

/// Forms of the `Retry-After` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// The response has no such header.
    #[default]
    Absent,
    /// A number of seconds.
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

/// Target of a redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectTarget {
    /// An absolute URL with the same origin and target, including the query.
    SameOrigin,
    /// The same target on another origin, such as `https://api.instagram.com`.
    OtherOrigin(String),
    /// The metadata service of a cloud provider, whose address is not public.
    NonPublic,
    /// The given value of the `Location` header.
    Location(String),
}

/// The rules, with counters of matches and injected faults.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<(Fault, u64, u64)>,
}

impl Faults {
    pub(crate) fn new(faults: Vec<Fault>) -> Self {
        Self { rules: faults.into_iter().map(|fault| (fault, 0, 0)).collect() }
    }

    /// The fault that a request meets. `names` tells whether the request contains a text; it is called only if needed.
    pub(crate) fn meet(&mut self, host: &str, path: &str, names: impl Fn(&str) -> bool) -> Option<FaultKind> {
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

/// The `Location` of a redirect for a request to `host` and `target`.
pub(crate) fn location(to: &RedirectTarget, host: &str, target: &str) -> String {
    match to {
        RedirectTarget::SameOrigin => format!("https://{host}{target}"),
        RedirectTarget::OtherOrigin(origin) => format!("{origin}{target}"),
        RedirectTarget::NonPublic => "http://169.254.169.254/latest/meta-data/".to_owned(),
        RedirectTarget::Location(location) => location.clone(),
    }
}

/// Compresses a response with gzip.
pub(crate) fn gzip(mut reply: Reply) -> Reply {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(&reply.body).and_then(|()| encoder.finish());
    reply.body = written.expect("writing to memory can't fail");
    reply.headers.push(("content-encoding", "gzip".to_owned()));
    reply
}

/// A body that ends with an error after its first half, which closes the connection.
pub(crate) fn half_then_error(body: &[u8]) -> Body {
    let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset on request");
    Body::from_stream(stream::iter([Ok(half), Err(broken)]))
}

const CHUNK_BYTES: usize = 64 * 1024;

/// A body of this many spaces, generated as it is read.
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

/// Zeros as one valid gzip member: one compressed MiB, flushed to a byte boundary and repeated.
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

/// Deflates bytes so that the result can be repeated: it contains no references to earlier data.
fn full_flush(bytes: &[u8]) -> Vec<u8> {
    let mut compress = flate2::Compress::new(Compression::fast(), false);
    let mut out = Vec::with_capacity(bytes.len() / 16 + 1024);
    let done = compress.compress_vec(bytes, &mut out, FlushCompress::Full);
    done.expect("the buffer is larger than what zeros are compressed to");
    out
}
