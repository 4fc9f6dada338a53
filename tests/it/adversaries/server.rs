//! A platform that attacks the host: bytes on a socket, one behaviour for each name of a host.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Secret that is sent to the platform, and that it repeats in every form it can think of.
pub const SECRET: &str = "canary-Operator.Key~0123456789/abc+d=";

/// Secret of an account.
pub const TOKEN: &str = "canary-account-token-0123456789";

const MIB: usize = 1 << 20;

/// Little that unpacks to 32 MiB, by gzip and by zstd. It is packed before anyone waits for it.
static BOMBS: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let zeros = vec![b'0'; 32 * MIB];
    (gzip(&zeros), zstd::encode_all(&zeros[..], 3).expect("encoded"))
});

/// How long a behaviour without an end goes on. The host ends it long before.
const ENDLESS: Duration = Duration::from_secs(120);

/// Bytes of a body without an end: far more than any bound.
const ENDLESS_BYTES: usize = 64 * MIB;

/// A hostile platform. Dropping it stops it.
pub struct Platform {
    pub address: SocketAddr,
    /// Requests so far, by the first label of the host.
    asked: Arc<Mutex<BTreeMap<String, u64>>>,
    _tasks: JoinSet<()>,
}

impl Platform {
    pub async fn start() -> Self {
        LazyLock::force(&BOMBS);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
        let counted = Arc::clone(&asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.expect("a connection");
                        connections.spawn(serve(stream, Arc::clone(&counted)));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    /// Number of requests to the host of a name.
    pub fn asked(&self, name: &str) -> u64 {
        self.asked.lock().expect("not poisoned").get(name).copied().unwrap_or_default()
    }
}

/// Answers one request and closes the connection. The host may be gone before the end, which is no fault.
async fn serve(mut stream: TcpStream, asked: Arc<Mutex<BTreeMap<String, u64>>>) {
    let Some(head) = head_of(&mut stream).await else { return };
    let value = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let name = value("host").split('.').next().unwrap_or_default().to_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    *asked.lock().expect("not poisoned").entry(name.clone()).or_default() += 1;
    let told = Told { name, path, secret: value("x-api-key") };
    let _ = behave(&told, &mut stream).await;
    let _ = stream.shutdown().await;
}

async fn head_of(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// What a request told the platform.
struct Told {
    name: String,
    path: String,
    /// The secret that the host injected.
    secret: String,
}

/// An answer with a body and further headers.
fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    answer("200 OK", "content-type: application/json\r\n", body)
}

fn redirect(to: &str) -> Vec<u8> {
    answer("302 Found", &format!("location: {to}\r\n"), "")
}

fn grant(token: &str, seconds: i64) -> String {
    format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":{seconds}}}")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";

/// Writes the same bytes again and again, slowly or as fast as they are taken.
async fn without_end(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
    let mut written = 0;
    let mut turns = tokio::time::interval(pause.max(Duration::from_micros(1)));
    let end = tokio::time::Instant::now() + ENDLESS;
    while tokio::time::Instant::now() < end && written < ENDLESS_BYTES {
        if !pause.is_zero() {
            turns.tick().await;
        }
        stream.write_all(bytes).await?;
        written += bytes.len();
    }
    Ok(())
}

async fn behave(told: &Told, stream: &mut TcpStream) -> std::io::Result<()> {
    let (slow, fast) = (Duration::from_millis(20), Duration::ZERO);
    let secret = told.secret.as_str();
    let name = told.name.as_str();
    let here = format!("https://{name}.attacks.test");
    let quoted = |text: &str| format!("{{\"followers\":1,\"text\":\"{text}\"}}");
    let large = |status: &str, line: &str, times: usize| {
        format!("HTTP/1.1 {status}\r\n{}content-length: 2\r\n\r\n{{}}", line.repeat(times)).into_bytes()
    };
    let bytes = match name {
        "good" => {
            let number: u64 = told.path.trim_start_matches('/').parse().unwrap_or_default();
            ok(format!("{{\"followers\":{}}}", 1_000 + number))
        }
        // Time.
        "never-answers" => return without_end(stream, b"", Duration::from_secs(1)).await,
        "drips-headers" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            return without_end(stream, b"x-a: b\r\n", slow).await;
        }
        "drips-a-body" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500000\r\n\r\n").await?;
            return without_end(stream, b" ", slow).await;
        }
        "interim-answers" => return without_end(stream, b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", fast).await,
        "outage-for-ever" => answer("503 Service Unavailable", "", ""),
        "retry-after-beyond" => answer("429 Too Many Requests", "retry-after: 99999999999999999999999\r\n", ""),
        "retry-after-9999" => answer("503 Service Unavailable", "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n", ""),
        "retry-after-negative" => answer("503 Service Unavailable", "retry-after: -1\r\n", ""),
        // Size.
        "body-without-end" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            return without_end(stream, &[b'x'; 65_536], fast).await;
        }
        "frames-of-nothing" => {
            // Skippable frames of zstd (RFC 8878, 3.1.2), which unpack to nothing.
            let frame = [b"\x50\x2a\x4d\x18".as_slice(), &65_528_u32.to_le_bytes(), &[0; 65_528]].concat();
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-encoding: zstd\r\n\r\n").await?;
            return without_end(stream, &frame, fast).await;
        }
        "chunks-without-end" => {
            stream.write_all(CHUNKED).await?;
            return without_end(stream, b"4\r\nxxxx\r\n", fast).await;
        }
        "chunk-extensions" => {
            stream.write_all(CHUNKED).await?;
            return without_end(stream, format!("1;{}\r\nx\r\n", "e".repeat(8_000)).as_bytes(), fast).await;
        }
        "trailers-without-end" => {
            stream.write_all(CHUNKED).await?;
            stream.write_all(b"2\r\n{}\r\n0\r\n").await?;
            return without_end(stream, b"x-trailer: y\r\n", fast).await;
        }
        "gzip-bomb" => answer("200 OK", "content-encoding: gzip\r\n", &BOMBS.0),
        "zstd-bomb" => answer("200 OK", "content-encoding: zstd\r\n", &BOMBS.1),
        "gzip-twice" => answer("200 OK", "content-encoding: gzip, gzip\r\n", gzip(&gzip(&ok(secret)))),
        "gzip-in-two-lines" => {
            answer("200 OK", "content-encoding: gzip\r\ncontent-encoding: gzip\r\n", gzip(&gzip(&ok(secret))))
        }
        "encoding-unknown" => answer("200 OK", "content-encoding: x-gzip\r\n", gzip(secret.as_bytes())),
        "gzip-broken" => answer("200 OK", "content-encoding: gzip\r\n", &gzip(&[b'0'; 10_000])[..20]),
        "length-beyond" => b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n{}".to_vec(),
        "length-of-gigabytes" => b"HTTP/1.1 200 OK\r\ncontent-length: 9000000000\r\n\r\n{}".to_vec(),
        "headers-10000" => large("200 OK", "x-h: y\r\n", 10_000),
        "header-of-a-megabyte" => large("200 OK", &format!("x-h: {}\r\n", "y".repeat(MIB)), 1),
        "headers-without-end" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            return without_end(stream, b"x-a: b\r\n", fast).await;
        }
        // Form.
        "closes-at-once" => return Ok(()),
        "closes-in-the-middle" | "closes-in-the-middle-for-ever" => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 700000\r\n\r\n";
            [head.as_slice(), vec![b'x'; 600_000].as_slice()].concat()
        }
        "length-lies" => b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{}".to_vec(),
        "lengths-differ" => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 5\r\n\r\n{}xxx".to_vec(),
        "length-and-chunks" => {
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_vec()
        }
        "no-http" => vec![0xf5; 10_000],
        "http-09" => b"{\"followers\":1}".to_vec(),
        "status-garbage" => b"HTTP/1.1 abc OK\r\n\r\n".to_vec(),
        "status-beyond" => b"HTTP/1.1 9999 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
        "switches-protocols" => {
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: evil\r\nconnection: upgrade\r\n\r\n".to_vec()
        }
        "chunk-size-beyond" => [CHUNKED, b"ffffffffffffffffff\r\nx\r\n"].concat(),
        "chunk-size-garbage" => [CHUNKED, b"zz\r\nx\r\n"].concat(),
        "header-splits" => b"HTTP/1.1 200 OK\r\nx-a: b\0c\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
        "body-binary" => ok([0, 0xff, 0xfe, 0x80]),
        "body-deep" => ok("[".repeat(100_000)),
        "sets-cookies" => {
            answer("200 OK", "set-cookie: a=b; domain=attacks.test\r\nset-cookie2: c=d\r\n", "{\"followers\":1}")
        }
        // Redirects.
        "redirects-for-ever" => redirect(&format!("{here}/again")),
        "redirects-to-private" => redirect("https://localhost/"),
        "redirects-to-metadata" => redirect("https://169.254.169.254/latest/meta-data/"),
        "redirects-to-http" => redirect("http://good.attacks.test/"),
        "redirects-to-file" => redirect("file:///etc/passwd"),
        "redirects-off-the-list" => redirect("https://evil.test/"),
        "redirects-with-a-user" => redirect("https://user:pw@good.attacks.test/1"),
        "redirects-with-the-secret" => redirect(&format!("{here}/?k={secret}")),
        // Longer than a URL may be, and short enough for the head of an answer.
        "redirects-to-megabytes" => redirect(&format!("{here}/{}", "x".repeat(40_000))),
        // Secrets.
        "echo-plain" => ok(quoted(secret)),
        "echo-percent" => {
            ok(quoted(&secret.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>().replace('%', "%25")))
        }
        "echo-json" => ok(quoted(&secret.encode_utf16().map(|unit| format!("\\\\u{unit:04x}")).collect::<String>())),
        "echo-base64" => ok(quoted(&STANDARD.encode(format!("ab{secret}")))),
        "echo-base64-lines" => {
            let text = STANDARD.encode(secret);
            ok(quoted(&text.as_bytes().chunks(16).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\\r\\n")))
        }
        "echo-hex" => ok(quoted(&hex(secret))),
        "echo-entities" => ok(quoted(&secret.chars().map(|c| format!("&#{};", u32::from(c))).collect::<String>())),
        "echo-utf16" => ok(secret.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>()),
        "echo-gzip" => answer("200 OK", "content-encoding: gzip\r\n", gzip(quoted(secret).as_bytes())),
        "echo-in-a-header" => answer("200 OK", &format!("x-echo: {secret}\r\n"), "{\"followers\":1}"),
        "echo-in-pieces" => {
            stream.write_all(CHUNKED).await?;
            for byte in quoted(secret).bytes() {
                stream.write_all(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']).await?;
                stream.flush().await?;
            }
            b"0\r\n\r\n".to_vec()
        }
        "echo-often" => ok(quoted(&secret.repeat(20_000))),
        // Tokens.
        "token-of-percents" => ok(grant(&"%".repeat(65_000), 3_600)),
        "token-of-backslashes" => ok(grant(&format!("{}b", r"\\".repeat(60)), 3_600)),
        "token-with-a-line" => ok(grant("canary\\r\\nhost: evil.test", 3_600)),
        "token-with-a-blank" => ok(grant("canary token of two words", 3_600)),
        "token-too-long" => ok(grant(&"a".repeat(60_000), 3_600)),
        "token-too-short" => ok(grant("abc", 3_600)),
        "token-missing" => ok("{\"access_token\":7,\"expires_in\":3600}"),
        "token-lasts-for-ever" => ok(grant("a-fresh-token", 1_000_000_000_000)),
        "token-lasts-a-negative-time" => ok(grant("a-fresh-token", -5)),
        "token-page-of-html" => answer("200 OK", "content-type: text/html\r\n", "<html>canary-client-secret</html>"),
        "token-redirects" => redirect("https://good.attacks.test/1"),
        "token-without-end" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            return without_end(stream, &[b'x'; 65_536], fast).await;
        }
        "token-never-answers" => return without_end(stream, b"", Duration::from_secs(1)).await,
        "token-repeats-the-secret" => answer(
            "401 Unauthorized",
            "content-type: application/json\r\n",
            "{\"error\":\"invalid_client\",\"error_description\":\"canary-client-secret is wrong\"}",
        ),
        _ => ok("{\"followers\":7}"),
    };
    stream.write_all(&bytes).await
}
