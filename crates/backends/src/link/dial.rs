//! How a connection to a server is made: TCP, to where the name in its URI leads or to an address
//! that is known already, and TLS under that name.

use ::http::Uri;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use tower_service::Service;

/// The trust anchors are the system's, and the built-in ones where it has none. Loaded once.
static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let with_roots = match ClientConfig::builder().with_native_roots() {
        Ok(with_roots) => with_roots,
        Err(_) => ClientConfig::builder().with_webpki_roots(),
    };
    let mut config = with_roots.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
});

/// Makes the TCP connection.
#[derive(Clone)]
pub(super) struct Dial {
    tcp: HttpConnector,
    address: Option<SocketAddr>,
}

/// Connects to `address`, or else to where the name of a URI leads.
pub(super) fn connector(address: Option<SocketAddr>) -> HttpsConnector<Dial> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    HttpsConnector::from((Dial { tcp, address }, Arc::clone(&TLS)))
}

impl Service<Uri> for Dial {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = <HttpConnector as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let known = self.address.and_then(|address| {
            Uri::builder()
                .scheme("http")
                .authority(address.to_string())
                .path_and_query("/")
                .build()
                .ok()
        });
        self.tcp.call(known.unwrap_or(uri))
    }
}
