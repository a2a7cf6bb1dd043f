//! The pages of the facade. They have no script, and everything in them is escaped.

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use switchboard_policy::facade::{Authorization, Client, Question};
use url::Url;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:3rem auto;\
padding:0 1rem;color:#1b1b1b;background:#fff}h1{font-size:1.4rem}dt{font-weight:600;margin-top:.8rem}\
dd{margin:0;overflow-wrap:anywhere}.warning{border-left:4px solid #b45309;padding:.2rem .8rem;\
background:#fff7ed}button{font:inherit;padding:.5rem 1.2rem;margin:1.2rem .6rem 0 0}";

/// What the page has to say.
pub(super) struct Asking<'a> {
    /// What people know this gateway by.
    pub(super) gateway: &'a str,
    pub(super) client: &'a Client,
    pub(super) authorization: &'a Authorization,
    /// What is asked for at the identity provider.
    pub(super) provider: &'a str,
    pub(super) provider_scopes: &'a str,
    pub(super) question: &'a Question,
    /// Where the answer goes.
    pub(super) consent_url: &'a str,
}

/// The question whether this client may call.
pub(super) fn question(asking: &Asking<'_>) -> Response {
    let client = escaped(&asking.client.name);
    let gateway = escaped(asking.gateway);
    let redirect_uri = &asking.authorization.redirect_uri;
    let mut body = format!("<h1>May “{client}” use {gateway} in your name?</h1><dl>");
    let who = match &asking.client.host {
        Some(host) => format!("It belongs to {}.", escaped(host)),
        None => "It has registered itself; nobody has checked its name.".to_owned(),
    };
    item(&mut body, "Who asks", &format!("“{client}”. {who}"));
    let host = address_of(redirect_uri);
    let to = format!(
        "<strong>{}</strong><br>{}",
        escaped(&host),
        escaped(redirect_uri)
    );
    item(&mut body, "Where the permission is sent", &to);
    item(
        &mut body,
        "What it may call",
        &escaped(&asking.authorization.resource),
    );
    let scopes = asking.authorization.scopes.join(", ");
    let scopes = if scopes.is_empty() {
        "everything that you may call".to_owned()
    } else {
        scopes
    };
    item(&mut body, "With these permissions", &escaped(&scopes));
    let provider = format!(
        "{} ({})",
        escaped(asking.provider),
        escaped(asking.provider_scopes)
    );
    item(
        &mut body,
        "Where you log in, and what is asked for there",
        &provider,
    );
    body.push_str("</dl>");
    if is_local(redirect_uri) {
        body.push_str(
            "<p class=\"warning\">The permission goes to a program on this computer, and any program \
             here could call itself that. Allow it only if you have just begun this yourself.</p>",
        );
    }
    // Values are escaped, also those that are base64url anyhow.
    let _ = write!(
        body,
        "<form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"request\" value=\"{}\">\
         <button name=\"decision\" value=\"allow\">Allow</button>\
         <button name=\"decision\" value=\"deny\">Refuse</button></form>",
        escaped(asking.consent_url),
        escaped(&asking.question.sealed),
    );
    page(StatusCode::OK, "May it call?", &body)
}

/// Tells why nothing goes on.
pub(super) fn mistake(status: StatusCode, what: &str) -> Response {
    let body = format!(
        "<h1>This cannot go on</h1><p>{}</p><p>Go back to the program that sent you here, and begin \
         anew.</p>",
        escaped(what)
    );
    page(status, "This cannot go on", &body)
}

fn item(body: &mut String, term: &str, described: &str) {
    let _ = write!(body, "<dt>{term}</dt><dd>{described}</dd>");
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let nonce = format!("{:032x}", fastrand::u128(..));
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style nonce=\"{nonce}\">{STYLE}</style>\
         </head><body>{body}</body></html>"
    );
    // No `form-action`: browsers apply it to all that follows the form, and that leads to the identity
    // provider and to the client.
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'"
    );
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A form of a page with `no-referrer` names no origin, which has to be ours.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Who gets what is sent to an address: its host, or the scheme of a program's own.
fn address_of(uri: &str) -> String {
    let Ok(url) = Url::parse(uri) else {
        return uri.to_owned();
    };
    match (url.scheme(), url.host_str()) {
        ("http" | "https", Some(host)) => host.to_owned(),
        (scheme, _) => format!("the program that has the scheme {scheme}:"),
    }
}

/// Whether a program on the computer of the browser gets what is sent there.
fn is_local(redirect_uri: &str) -> bool {
    Url::parse(redirect_uri).is_ok_and(|url| url.scheme() != "https")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{address_of, escaped};

    #[test]
    fn the_host_of_an_address_is_what_counts() {
        assert_eq!(
            address_of("https://app.example.com:8443/a?b"),
            "app.example.com"
        );
        assert_eq!(
            address_of("cursor://app/x"),
            "the program that has the scheme cursor:"
        );
    }

    #[test]
    fn nothing_of_a_client_becomes_markup() {
        let text = escaped("<script>\"a\"&'b'</script>");
        assert_eq!(
            text,
            "&lt;script&gt;&quot;a&quot;&amp;&#39;b&#39;&lt;/script&gt;"
        );
    }
}
