//! A connection to a mail server that ends once the server has sent too much: the SMTP client keeps a line until its
//! end, and anyone in between can send one without an end before TLS begins.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes that a server may send over a connection. Its answers are short lines, and the certificates of its
/// handshake have a few kilobytes.
const RECEIVED_BYTES_MAX: usize = 256 * 1024;

/// A connection that takes no more than this.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: TcpStream,
    left: usize,
}

impl Bounded {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, left: RECEIVED_BYTES_MAX }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        let Some(left) = self.left.checked_sub(read) else {
            // A read that fails has read nothing.
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::other(format!("it sent more than {RECEIVED_BYTES_MAX} bytes"))));
        };
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Bounded {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_server_that_sends_a_line_without_an_end_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            while stream.write_all(&[b'2'; 4_096]).await.is_ok() {}
        };
        let client = async {
            let mut connection = Bounded::new(TcpStream::connect(address).await.expect("connected"));
            let error = connection.read_to_end(&mut Vec::new()).await.expect_err("it is too much");
            assert!(error.to_string().contains("sent more than"), "{error}");
        };
        tokio::join!(server, client);
    }
}
