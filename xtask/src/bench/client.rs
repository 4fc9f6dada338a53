//! A client of a serving host on loopback that keeps its connection, as those of applications do. It speaks as much of
//! HTTP/1.1 as the host answers with: an HTTP client would be this task's heaviest dependency by far.

use std::io::{BufRead as _, BufReader, Read as _, Write, copy};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// How long the host may be silent in the middle of an answer.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A connection. After an error it is of no more use.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

/// An answer without its body.
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Names in lower case, with their values.
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of a header by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// An answer by its lines, without the empty one after them.
    fn parse(lines: &[String]) -> Option<Self> {
        let (first, headers) = lines.split_first()?;
        let status = first.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
        let header = |line: &String| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Some(Self { status, headers: headers.iter().map(header).collect::<Option<_>>()? })
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nothing listens there.
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT);
        let stream = stream.with_context(|| format!("failed to connect to {address}"))?;
        stream.set_nodelay(true).context("failed to set up a connection")?;
        stream.set_read_timeout(Some(TIMEOUT)).context("failed to set up a connection")?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    /// Asks for a path with further headers, each with its line break, and writes the body of the answer to `sink`.
    ///
    /// # Errors
    /// If the connection breaks, or what comes is no whole answer.
    pub(crate) fn get(&mut self, path: &str, headers: &str, sink: &mut dyn Write) -> Result<Head> {
        self.ask("GET", path, headers, "", sink).with_context(|| format!("GET {path}"))
    }

    /// Sends a form, already encoded.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn post(&mut self, path: &str, form: &str) -> Result<Head> {
        let headers = "content-type: application/x-www-form-urlencoded\r\n";
        self.ask("POST", path, headers, form, &mut std::io::sink()).with_context(|| format!("POST {path}"))
    }

    fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str, sink: &mut dyn Write) -> Result<Head> {
        let (host, length) = (self.address, body.len());
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes()).context("the request can't be sent")?;
        let mut lines = Vec::new();
        loop {
            match self.line()? {
                line if line.is_empty() => break,
                line => lines.push(line),
            }
        }
        let head = Head::parse(&lines).with_context(|| format!("it is no HTTP answer: {lines:?}"))?;
        if head.header("transfer-encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked")) {
            self.chunks(sink)?;
        } else if let Some(length) = head.header("content-length") {
            let length = length.parse::<u64>().with_context(|| format!("'{length}' is no length"))?;
            self.bytes(length, sink)?;
        } else if !matches!(head.status, 204 | 304) {
            bail!("the answer with status {} has no length", head.status);
        }
        Ok(head)
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("the answer can't be read")?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => bail!("the answer ends early"),
        }
    }

    /// So many bytes of a body.
    fn bytes(&mut self, length: u64, sink: &mut dyn Write) -> Result<()> {
        let copied = copy(&mut self.stream.by_ref().take(length), sink).context("the answer can't be read")?;
        if copied != length {
            bail!("the answer ends after {copied} of {length} bytes");
        }
        Ok(())
    }

    fn chunks(&mut self, sink: &mut dyn Write) -> Result<()> {
        loop {
            let line = self.line()?;
            let length = u64::from_str_radix(&line, 16).with_context(|| format!("'{line}' is no length"))?;
            self.bytes(length, sink)?;
            if !self.line()?.is_empty() {
                bail!("a part of the answer has another length than it says");
            }
            if length == 0 {
                return Ok(());
            }
        }
    }
}

/// A value as a form has it.
pub(crate) fn encoded(value: &str) -> String {
    use std::fmt::Write as _;

    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What a client reads of an answer that is sent to it, twice on one connection.
    fn read(answer: &'static str) -> Result<(u16, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            for _ in 0..2 {
                let mut lines = BufReader::new(stream.try_clone().expect("shared")).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let mut connection = Connection::open(address)?;
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let mut body = Vec::new();
            let head = connection.get("/", "x: y\r\n", &mut body)?;
            bodies.push((head.status, String::from_utf8(body)?));
        }
        server.join().expect("it ends");
        assert_eq!(bodies[0], bodies[1]);
        Ok(bodies.remove(0))
    }

    #[test]
    fn a_connection_is_used_again_after_an_answer_of_either_kind() {
        let plain = read("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno").expect("an answer");
        assert_eq!(plain, (404, "no".to_owned()));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(read(chunked).expect("an answer"), (200, "abcde".to_owned()));
        assert_eq!(read("HTTP/1.1 304 Not Modified\r\n\r\n").expect("an answer"), (304, String::new()));
    }

    #[test]
    fn a_head_is_read_whatever_case_its_names_have() {
        let lines = ["HTTP/1.1 200 OK", "Link: </v1/metrics?cursor=x>; rel=\"next\""].map(str::to_owned);
        let head = Head::parse(&lines).expect("a head");
        assert_eq!((head.status, head.header("link")), (200, Some("</v1/metrics?cursor=x>; rel=\"next\"")));
        assert!(Head::parse(&["SSH-2.0-x".to_owned()]).is_none() && Head::parse(&[]).is_none());
    }

    #[test]
    fn a_value_is_encoded_unless_each_form_takes_it() {
        assert_eq!(encoded("blt_0-a.b+/="), "blt_0-a.b%2B%2F%3D");
    }
}
