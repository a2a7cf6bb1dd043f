//! What a running peer is told about the server behind it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use super::Server;
use crate::Failure;

/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How much of a refusal is quoted, in bytes.
const QUOTED: usize = 300;

/// One request of a peer's administration.
pub(super) struct Registration {
    path: &'static str,
    body: String,
}

/// ContextForge registers a server under a name, which goes before the names of its tools.
pub(super) fn contextforge(server: &Server) -> Registration {
    let url = match server {
        Server::Http(url) => url.as_str(),
        Server::Stdio(..) => "",
    };
    let body = json!({
        "name": "behind",
        "url": url,
        "transport": "STREAMABLEHTTP",
        "visibility": "public",
    });
    Registration {
        path: "/v1/gateways",
        body: body.to_string(),
    }
}

impl Registration {
    /// Posts it.
    ///
    /// # Errors
    /// If nobody listens there, or it is refused for another reason than that it was made before.
    pub(super) async fn send(&self, peer: SocketAddr) -> Result<(), Failure> {
        let stream = TcpStream::connect(peer)
            .await
            .map_err(Failure::at("cannot connect"))?;
        let (mut sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(Failure::at("cannot connect"))?;
        let asked = async {
            let response = sender
                .send_request(self.request(peer)?)
                .await
                .map_err(Failure::at("cannot register the server"))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(Failure::at("the answer to a registration broke off"))?
                .to_bytes();
            taken(status, &body)
        };
        tokio::pin!(connection, asked);
        tokio::select! {
            biased;
            done = &mut asked => done,
            // The request then learns from its sender what became of it.
            _ = &mut connection => asked.await,
        }
    }

    fn request(&self, peer: SocketAddr) -> Result<Request<Full<Bytes>>, Failure> {
        Request::post(self.path)
            .header(HOST, peer.to_string())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(Bytes::from(self.body.clone())))
            .map_err(Failure::at("cannot register the server"))
    }
}

fn taken(status: StatusCode, body: &[u8]) -> Result<(), Failure> {
    if status.is_success() || status == StatusCode::CONFLICT {
        return Ok(());
    }
    let excerpt = String::from_utf8_lossy(&body[..body.len().min(QUOTED)]);
    Err(Failure(format!(
        "answered {status} to the registration of the server: {excerpt}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A peer that answers one request with these bytes, and gives that request back.
    async fn answering(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        (address, asked)
    }

    #[tokio::test]
    async fn a_server_is_registered_by_its_url() {
        let registration = contextforge(&Server::Http("http://127.0.0.1:9/mcp".to_owned()));
        let (peer, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        registration.send(peer).await.unwrap();
        let request = asked.await.unwrap();
        assert!(request.starts_with("POST /v1/gateways "), "{request}");
        let body: serde_json::Value = serde_json::from_str(&registration.body).unwrap();
        assert_eq!(body["url"], "http://127.0.0.1:9/mcp");
    }

    #[tokio::test]
    async fn a_refusal_is_quoted() {
        let registration = contextforge(&Server::Http("http://127.0.0.1:9/mcp".to_owned()));
        let refusal = "HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: 4\r\n\r\nnope";
        let (peer, _asked) = answering(refusal).await;
        let failure = registration.send(peer).await.unwrap_err().to_string();
        assert!(
            failure.contains("422") && failure.ends_with("nope"),
            "{failure}"
        );
    }

    #[test]
    fn what_was_registered_before_is_registered() {
        assert!(taken(StatusCode::CONFLICT, b"").is_ok());
        assert!(taken(StatusCode::INTERNAL_SERVER_ERROR, b"").is_err());
    }
}
