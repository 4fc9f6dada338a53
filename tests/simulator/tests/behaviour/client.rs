//! A minimal HTTP/1.1 client: one connection per request, and broken responses stay visible.

use std::net::SocketAddr;

use backline_simulator::{Simulator, SimulatorConfig};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A response as it arrived.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Whether the body is complete according to its framing.
    pub complete: bool,
    /// Whether the connection ended with a reset.
    pub reset: bool,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error} in the body of {}\n{}", self.head, String::from_utf8_lossy(&self.body))
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub async fn start(config: SimulatorConfig) -> Simulator {
    Simulator::start(config).await.unwrap()
}

pub async fn get(simulator: &Simulator, host: &str, target: &str) -> Answer {
    send(simulator.addr(), "GET", host, target, &[], "").await
}

pub async fn get_with(simulator: &Simulator, host: &str, target: &str, bearer: &str) -> Answer {
    send(simulator.addr(), "GET", host, target, &[("authorization", &format!("Bearer {bearer}"))], "").await
}

pub async fn post_form(simulator: &Simulator, host: &str, target: &str, form: &[(&str, &str)]) -> Answer {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    send(simulator.addr(), "POST", host, target, &headers, &body.finish()).await
}

pub async fn send(
    addr: SocketAddr,
    method: &str,
    host: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let mut reset = false;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) => {
                reset = error.kind() == std::io::ErrorKind::ConnectionReset;
                break;
            }
        }
    }
    read_answer(&bytes, reset)
}

fn read_answer(bytes: &[u8], reset: bool) -> Answer {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Answer { status: 0, head: String::new(), body: Vec::new(), complete: false, reset };
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head[9..12].parse().unwrap();
    let raw = &bytes[end + 4..];
    let mut answer = Answer { status, head, body: Vec::new(), complete: false, reset };
    if answer.header("transfer-encoding") == Some("chunked") {
        (answer.body, answer.complete) = unchunk(raw);
    } else {
        let length: usize = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
        answer.body = raw.to_vec();
        answer.complete = raw.len() == length;
    }
    answer
}

fn unchunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = raw.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..line]).unwrap(), 16).unwrap();
        raw = &raw[line + 2..];
        if size == 0 {
            return (body, true);
        }
        if raw.len() < size + 2 {
            body.extend_from_slice(&raw[..raw.len().min(size)]);
            return (body, false);
        }
        body.extend_from_slice(&raw[..size]);
        raw = &raw[size + 2..];
    }
}

pub fn youtube(simulator: &Simulator, path: &str) -> String {
    format!("/youtube/v3/{path}&key={}", simulator.world().youtube_api_key())
}

pub async fn spotify_token(simulator: &Simulator) -> String {
    let (id, secret) = (simulator.world().spotify_client_id(), simulator.world().spotify_client_secret());
    let form = [("grant_type", "client_credentials"), ("client_id", id.as_str()), ("client_secret", secret.as_str())];
    let answer = post_form(simulator, "accounts.spotify.com", "/api/token", &form).await;
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// Apple's developer token, signed with the world's key.
pub fn apple_token(simulator: &Simulator, team: &str, issued: i64, expires: i64) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use p256::ecdsa::signature::Signer as _;
    use p256::ecdsa::{Signature, SigningKey};
    use p256::pkcs8::DecodePrivateKey as _;

    let key = SigningKey::from_pkcs8_pem(&simulator.world().apple_private_key_pem()).unwrap();
    let header = serde_json::json!({ "alg": "ES256", "kid": simulator.world().apple_key_id() });
    let claims = serde_json::json!({ "iss": team, "iat": issued, "exp": expires });
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature: Signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}
