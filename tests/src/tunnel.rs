//! A way to a gateway under an address that it does not know.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Passes connections on to this authority, as a tunnel does: behind the address that is returned the same
/// answers, but requests name another `Host`.
///
/// # Panics
///
/// If there is no port for it.
pub async fn tunnel_to(authority: &str) -> SocketAddr {
    let any = (Ipv4Addr::LOCALHOST, 0);
    let listener = TcpListener::bind(any).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let authority = authority.to_owned();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let authority = authority.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(authority).await?;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    address
}
