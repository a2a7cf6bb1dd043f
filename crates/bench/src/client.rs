//! One client: a keep-alive connection, and the session on it if its era has sessions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::timeout;

use crate::Failure;
use crate::answer::{self, message};
use crate::connect::connect;
use crate::script::{Script, Step, Target};
use crate::wire::{Era, SESSION};

/// The next id of all clients: no two requests of a run have the same.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
/// The longest that opening a connection and a session may take.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// A client that is ready to ask.
pub(crate) struct Client {
    connection: Connection,
    script: Script,
}

impl Client {
    /// Opens a connection, and a session if the script is a legacy client's.
    ///
    /// # Errors
    /// If either is refused, or takes longer than 30 s.
    pub(crate) async fn open(target: &Target, script: &Script) -> Result<Self, Failure> {
        timeout(OPEN_LIMIT, Self::opened(target, script))
            .await
            .map_err(|_| Failure(format!("no session within {OPEN_LIMIT:?}")))?
    }

    async fn opened(target: &Target, script: &Script) -> Result<Self, Failure> {
        let mut connection = Connection::open(target.address).await?;
        let script = match script.era {
            Era::Modern => script.clone(),
            Era::Legacy => {
                let session = begin_session(&mut connection, target).await?;
                let steps = script.steps.iter().cloned();
                Script {
                    steps: steps
                        .map(|step| step.in_session(session.as_ref()))
                        .collect(),
                    ..script.clone()
                }
            }
        };
        Ok(Self { connection, script })
    }

    /// Opens a new connection if the old one was closed meanwhile; the session stays.
    ///
    /// # Errors
    /// If it is refused.
    pub(crate) async fn reopen(&mut self, target: &Target) -> Result<(), Failure> {
        if self.connection.sender.is_closed() {
            self.connection = Connection::open(target.address).await?;
        }
        Ok(())
    }

    /// Makes the call of this number, each of its steps answered before the next.
    ///
    /// # Errors
    /// At the first answer that is not as it should be.
    pub(crate) async fn call(&mut self, number: u64) -> Result<(), Failure> {
        let steps = Arc::clone(&self.script.steps);
        let begin = usize::try_from(number).unwrap_or_default() * self.script.steps_per_call;
        for offset in 0..self.script.steps_per_call {
            self.connection
                .ask(&steps[(begin + offset) % steps.len()])
                .await?;
        }
        Ok(())
    }
}

/// Begins a session, which the server may leave without a name.
async fn begin_session(
    connection: &mut Connection,
    target: &Target,
) -> Result<Option<HeaderValue>, Failure> {
    let step = target.initialize()?;
    let id = next_id();
    let response = connection.send(step.request(id)).await?;
    let session = response.headers().get(SESSION).cloned();
    answer::check(response, id, step.expected).await?;
    connection
        .notify(&target.initialized(session.as_ref())?)
        .await?;
    Ok(session)
}

/// A keep-alive connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects; what drives the connection ends with this value.
    ///
    /// # Errors
    /// If nobody listens there.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let sender = connect(address).await?;
        Ok(Self { sender })
    }

    /// Makes one request and checks its answer.
    ///
    /// # Errors
    /// If the answer is not as it should be.
    pub(crate) async fn ask(&mut self, step: &Step) -> Result<(), Failure> {
        let id = next_id();
        let response = self.send(step.request(id)).await?;
        answer::check(response, id, step.expected).await
    }

    /// Makes one request and returns the message that is its answer, whatever it says.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) async fn ask_for_message(&mut self, step: &Step) -> Result<Bytes, Failure> {
        let response = self.send(step.request(next_id())).await?;
        if !response.status().is_success() {
            return Err(Failure(format!("answered {}", response.status())));
        }
        message(response).await
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// If it is not accepted.
    pub(crate) async fn notify(&mut self, step: &Step) -> Result<(), Failure> {
        let response = self.send(step.notification()).await?;
        if !response.status().is_success() {
            return Err(Failure(format!("not accepted: {}", response.status())));
        }
        // Read to the end, so that the connection can be used again.
        let read = response.into_body().collect().await;
        read.map(drop).map_err(Failure::at("an answer broke off"))
    }

    /// Makes one request and returns its answer, of which only the head has come.
    ///
    /// # Errors
    /// If the connection is closed.
    pub(crate) async fn stream(&mut self, step: &Step) -> Result<Response<Incoming>, Failure> {
        self.send(step.request(next_id())).await
    }

    async fn send(
        &mut self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let sender = &mut self.sender;
        sender
            .ready()
            .await
            .map_err(Failure::at("the connection was closed"))?;
        sender
            .send_request(request)
            .await
            .map_err(Failure::at("a request was not answered"))
    }
}

fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}
