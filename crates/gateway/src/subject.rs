//! The token that a caller proved itself with, for the one server that is asked for another in
//! exchange: the authorization server of a backend.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, Request};
use switchboard_protocol::credentials::SubjectToken;

/// The longest token that is exchanged, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// Notes the token of a request beside it, whose claims have been verified.
pub(crate) fn note<B>(request: &mut Request<B>) {
    let token = jwt(request.headers()).map(str::to_owned);
    if let Some(token) = token {
        let token = Arc::new(SubjectToken::new(token));
        request.extensions_mut().insert(token);
    }
}

/// The token that was noted, if one was.
pub(crate) fn take(extensions: &mut Extensions) -> Option<Arc<SubjectToken>> {
    extensions.remove()
}

/// What was shown, if that has the form of a signed JWT (RFC 7515, 3.1).
fn jwt(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let is_part = |part: &str| {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !part.is_empty() && part.bytes().all(is_fit)
    };
    let is_jwt = scheme.eq_ignore_ascii_case("bearer")
        && token.len() <= MAX_TOKEN
        // The beginning of every JSON object that is the head of a token.
        && token.starts_with("eyJ")
        && token.split('.').count() == 3
        && token.split('.').all(is_part);
    is_jwt.then_some(token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_token_is_noted() {
        let noted = |value: &'static str| {
            let mut request = Request::new(());
            let value = HeaderValue::from_static(value);
            request.headers_mut().insert(AUTHORIZATION, value);
            note(&mut request);
            take(request.extensions_mut()).map(|token| token.expose().to_owned())
        };
        assert_eq!(
            noted("Bearer eyJh.eyJz.c2ln").as_deref(),
            Some("eyJh.eyJz.c2ln")
        );
        assert_eq!(
            noted("bearer  eyJh.eyJz.c2ln").as_deref(),
            Some("eyJh.eyJz.c2ln")
        );
        for other in [
            "Bearer sb-a-key-of-the-gateway",
            "Basic eyJh.eyJz.c2ln",
            "Bearer eyJh.eyJz.",
            "Bearer eyJh.eyJz.c2ln.more",
            "Bearer eyJh.eyJz.c2 ln",
            "eyJh.eyJz.c2ln",
        ] {
            assert_eq!(noted(other), None, "{other}");
        }
    }

    #[test]
    fn it_is_not_shown_in_a_log() {
        let token = SubjectToken::new("eyJh.eyJz.c2ln".to_owned());
        assert_eq!(format!("{token:?}"), "SubjectToken");
    }
}
