//! One exchange with an authorization server, or for a document about one: no redirects, bounded in
//! time and size.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use url::{Position, Url};
use zeroize::Zeroizing;

use crate::link::pool::{Pool, PoolError};

/// How long one exchange may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// What is asked, and where.
pub(super) struct Question {
    pub(super) url: Url,
    /// Where to connect to, if that is not where the URL's name leads.
    pub(super) address: Option<SocketAddr>,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// What is answered.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Question {
    /// A document.
    pub(super) fn document(url: Url, address: Option<SocketAddr>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Self {
            url,
            address,
            method: Method::GET,
            headers,
            body: Zeroizing::default(),
        }
    }

    /// The answer, whatever its status.
    ///
    /// # Errors
    /// Says why there is none, for operators.
    pub(super) async fn ask(self, tasks: &TaskTracker) -> Result<Answered, String> {
        let whom = self.url.origin().ascii_serialization();
        match timeout(DEADLINE, self.exchange(tasks)).await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(why)) => Err(format!("{whom}: {why}")),
            Err(_) => Err(format!("{whom}: no answer within {} s", DEADLINE.as_secs())),
        }
    }

    async fn exchange(self, tasks: &TaskTracker) -> Result<Answered, String> {
        let authority: Uri = self.url[..Position::BeforePath]
            .parse()
            .map_err(|_| "its URL cannot be used".to_owned())?;
        // For one exchange: they are rare, and far between.
        let pool = Pool::new(authority, self.address, DEADLINE, tasks.clone());
        let response = pool
            .send(self.request()?)
            .await
            .map_err(|error| match error {
                PoolError::NotSent(why) => why,
                PoolError::Lost => "the connection broke before an answer came".to_owned(),
            })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|_| format!("its answer breaks off, or is longer than {MAX_ANSWER} bytes"))?;
        Ok(Answered {
            status: head.status.as_u16(),
            headers: head.headers,
            body: Zeroizing::new(body.to_bytes().to_vec()),
        })
    }

    fn request(self) -> Result<Request<Full<Bytes>>, String> {
        let target: Uri = self.url[Position::BeforePath..Position::AfterQuery]
            .parse()
            .map_err(|_| "its URL cannot be used".to_owned())?;
        let host = &self.url[Position::BeforeHost..Position::AfterPort];
        let host = HeaderValue::from_str(host).map_err(|_| "its URL cannot be used".to_owned())?;
        let length = HeaderValue::from(self.body.len());
        let mut request = Request::new(Full::new(Bytes::from_owner(self.body)));
        *request.method_mut() = self.method;
        *request.uri_mut() = target;
        *request.headers_mut() = self.headers;
        request.headers_mut().insert(HOST, host);
        if request.method() == Method::POST {
            request.headers_mut().insert(CONTENT_LENGTH, length);
        }
        Ok(request)
    }
}
