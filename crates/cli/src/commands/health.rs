//! `switchboard health`: whether a gateway on this machine is well, for whoever watches over
//! containers. An image needs no shell and no other program for it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use url::Url;

use super::client::visible;
use super::{failed, misused, print};

/// The most of an answer that is shown, in bytes.
const SHOWN: usize = 200;

/// What is asked, and where.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The address of `server.ops_listen`. No configuration is read: while somebody edits it, the
    /// gateway is as well as before.
    #[arg(
        long,
        value_name = "URL",
        env = "SWITCHBOARD_OPS_URL",
        default_value = "http://127.0.0.1:9464"
    )]
    url: Url,
    /// Ask whether it takes calls (/readyz) instead of whether it lives (/healthz).
    #[arg(long)]
    ready: bool,
    /// How long the answer may take, in seconds.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3,
        value_parser = clap::value_parser!(u64).range(1..=60)
    )]
    timeout: u64,
}

/// Asks once: 0 if it is well, 1 if not or if there is no answer, 2 if it cannot be asked so.
pub(crate) async fn run(options: &Options) -> ExitCode {
    let path = if options.ready { "/readyz" } else { "/healthz" };
    if options.url.scheme() != "http" {
        return misused("--url is not http://…: what is asked here speaks nothing else");
    }
    let url = match options.url.join(path) {
        Ok(url) => url,
        Err(error) => return misused(&format!("--url: {error}")),
    };
    match ask(url.clone(), Duration::from_secs(options.timeout)).await {
        Ok(text) => {
            print(&format!("{}\n", visible(text.trim())));
            ExitCode::SUCCESS
        }
        Err(message) => failed(&format!("{url}: {message}")),
    }
}

/// What it answers, if that is 200.
async fn ask(url: Url, timeout: Duration) -> Result<String, String> {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(timeout)
        .build()
        .map_err(|error| format!("there is nothing to ask with: {error}"))?;
    let mut answer = match http.get(url).send().await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => return Err("no answer in time".to_owned()),
        Err(_) => return Err("nothing answers there".to_owned()),
    };
    let status = answer.status();
    let mut text = Vec::new();
    while text.len() < SHOWN
        && let Ok(Some(part)) = answer.chunk().await
    {
        text.extend_from_slice(&part[..part.len().min(SHOWN - text.len())]);
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    if status == http::StatusCode::OK {
        return Ok(text);
    }
    Err(format!("{status}: {}", visible(text.trim())))
}
