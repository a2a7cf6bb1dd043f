//! The cookies of the facade.

use axum::response::Response;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use switchboard_policy::facade::{CONSENT_LIFETIME, LOGIN_LIFETIME};

/// What a browser keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    /// A secret of the browser, until it is closed: the question for consent is bound to it.
    Browser,
    /// What was agreed to.
    Consents,
    /// The login that was begun.
    Login,
}

impl Cookie {
    /// Its name. Over TLS it has the prefix that no other host and no plain connection can set it
    /// with; on a plain one, which is for development on one computer, browsers take no such cookie.
    fn name(self, is_encrypted: bool) -> String {
        let name = match self {
            Self::Browser => "switchboard-browser",
            Self::Consents => "switchboard-consents",
            Self::Login => "switchboard-login",
        };
        match is_encrypted {
            true => format!("__Host-{name}"),
            false => name.to_owned(),
        }
    }

    fn lifetime(self) -> Option<u64> {
        match self {
            Self::Browser => None,
            Self::Consents => Some(CONSENT_LIFETIME),
            Self::Login => Some(LOGIN_LIFETIME),
        }
    }

    /// Its value, if the browser has sent it.
    pub(super) fn read(self, headers: &HeaderMap, is_encrypted: bool) -> Option<&str> {
        let name = self.name(is_encrypted);
        let texts = headers.get_all(COOKIE).iter();
        let mut pairs = texts
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(';'));
        pairs.find_map(|pair| pair.trim().strip_prefix(&*name)?.strip_prefix('='))
    }

    /// Has the browser keep this.
    pub(super) fn set(self, response: &mut Response, value: &str, is_encrypted: bool) {
        self.write(response, value, self.lifetime(), is_encrypted);
    }

    /// Has the browser forget it.
    pub(super) fn clear(self, response: &mut Response, is_encrypted: bool) {
        self.write(response, "", Some(0), is_encrypted);
    }

    fn write(
        self,
        response: &mut Response,
        value: &str,
        lifetime: Option<u64>,
        is_encrypted: bool,
    ) {
        let mut cookie = format!(
            "{}={value}; Path=/; HttpOnly; SameSite=Lax",
            self.name(is_encrypted)
        );
        if is_encrypted {
            cookie.push_str("; Secure");
        }
        if let Some(lifetime) = lifetime {
            cookie.push_str(&format!("; Max-Age={lifetime}"));
        }
        // Values are base64url, so this never fails.
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::Response;
    use http::header::{COOKIE, SET_COOKIE};
    use http::{HeaderMap, HeaderValue};

    use super::Cookie;

    #[test]
    fn cookies_are_for_this_host_alone() {
        let mut response = Response::new(Body::empty());
        Cookie::Login.set(&mut response, "x", true);
        let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
        assert_eq!(
            cookie,
            "__Host-switchboard-login=x; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600",
        );
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        let cookies = "a=b; switchboard-login=no; __Host-switchboard-login=yes";
        headers.insert(COOKIE, HeaderValue::from_static(cookies));
        assert_eq!(Cookie::Login.read(&headers, true), Some("yes"));
        assert_eq!(Cookie::Login.read(&headers, false), Some("no"));
        assert_eq!(Cookie::Consents.read(&headers, true), None);
    }
}
