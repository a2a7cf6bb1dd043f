//! How a connection to a server is made: TCP, to where the name in its URI leads or to an address
//! that is known already, and TLS under that name.

use ::http::Uri;
use futures_util::TryFutureExt;
use futures_util::future::MapErr;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use rustls::ClientConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use tower_service::Service;

use super::unreachable::NameNotFound;

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
    tcp: HttpConnector<Resolver>,
    address: Option<SocketAddr>,
}

/// Connects to `address`, or else to where the name of a URI leads.
pub(super) fn connector(address: Option<SocketAddr>) -> HttpsConnector<Dial> {
    let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    HttpsConnector::from((Dial { tcp, address }, Arc::clone(&TLS)))
}

impl Service<Uri> for Dial {
    type Response = <HttpConnector<Resolver> as Service<Uri>>::Response;
    type Error = <HttpConnector<Resolver> as Service<Uri>>::Error;
    type Future = <HttpConnector<Resolver> as Service<Uri>>::Future;

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

/// The system's resolver, whose failures can be told from those to connect.
#[derive(Clone)]
pub(super) struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = <GaiResolver as Service<Name>>::Response;
    type Error = NameNotFound;
    type Future = MapErr<<GaiResolver as Service<Name>>::Future, fn(io::Error) -> NameNotFound>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NameNotFound>> {
        self.0.poll_ready(context).map_err(NameNotFound)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        self.0.call(name).map_err(NameNotFound)
    }
}
