//! Where the facade may send a browser with a code.
//!
//! Addresses are compared as texts. Each has to be in the one spelling that the parser of URLs gives
//! it, so no two readers of it can disagree about where it leads.

use url::{Host, Url};

use super::OAuthError;
use super::config::FacadeConfig;

/// The longest one, in characters.
pub(super) const LONGEST: usize = 512;

/// What nobody may be sent to, whatever the configuration says: a browser would run or open it.
const DANGEROUS: &[&str] = &[
    "about",
    "blob",
    "chrome",
    "data",
    "file",
    "filesystem",
    "ftp",
    "jar",
    "javascript",
    "mailto",
    "ms-appinstaller",
    "ms-msdt",
    "search-ms",
    "sms",
    "tel",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// The reason why an address is refused.
const REFUSED: OAuthError = OAuthError::new(
    "invalid_redirect_uri",
    "expected https, or http to this computer, written plainly and without a fragment",
);

/// Checks that codes may be sent to this address.
///
/// # Errors
///
/// If they may not.
pub(super) fn check(text: &str, config: &FacadeConfig) -> Result<Url, OAuthError> {
    let url = plain(text).ok_or(REFUSED)?;
    let allowed = match url.scheme() {
        "https" => config.allows_host(url.host_str().unwrap_or_default()),
        "http" => is_loopback(&url),
        _ => config.allowed_redirects.iter().any(|known| known == text),
    };
    match allowed {
        true => Ok(url),
        false => Err(REFUSED),
    }
}

/// Checks an address of a program's own scheme, which an operator allows.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_private_redirect(text: &str) -> Result<(), String> {
    let url = plain(text).ok_or_else(|| "is not an address in its plain spelling".to_owned())?;
    if matches!(url.scheme(), "http" | "https") {
        return Err("has no scheme of a program's own".to_owned());
    }
    Ok(())
}

/// Checks the name of a host, or `*.` and one if any below it may be meant.
///
/// # Errors
///
/// Says what would be right.
pub(super) fn check_host(text: &str, may_be_pattern: bool) -> Result<(), String> {
    let pattern = text.strip_prefix("*.");
    let name = pattern.filter(|_| may_be_pattern).unwrap_or(text);
    let host = Host::parse(name).ok().map(|host| host.to_string());
    if host.as_deref() == Some(name) && !name.contains('*') {
        return Ok(());
    }
    let below = if name == text { "" } else { "*." };
    let named = Url::parse(name).ok().filter(Url::has_host).or_else(|| {
        let url = Url::parse(&format!("https://{name}")).ok()?;
        (!name.contains('*')).then_some(url)
    });
    let right = named.as_ref().and_then(Url::host_str);
    Err(
        match (right.filter(|_| !name.contains('*')), may_be_pattern) {
            (Some(right), _) => format!("`{text}` is no host; expected `{below}{right}`"),
            (None, true) => format!(
                "`{text}` is no host; expected one such as `app.example.com`, or `*.example.com` for any \
             below it; without the key all are allowed"
            ),
            (None, false) => format!(
                "`{text}` is no host; expected the whole name of one, such as `apps.corp.example.com`"
            ),
        },
    )
}

/// Reads an address that has one spelling and one meaning.
fn plain(text: &str) -> Option<Url> {
    if text.len() > LONGEST {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let is_plain = url.as_str() == text || url.as_str().strip_suffix('/') == Some(text);
    let is_clean =
        url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    (is_plain && is_clean && !DANGEROUS.contains(&url.scheme())).then_some(url)
}

/// Whether a program on the computer of the browser gets it (RFC 8252, section 7.3).
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(ip)) => ip == std::net::Ipv6Addr::LOCALHOST,
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether what is asked for is what was registered: the same text, but for the port of a program on
/// the same computer, which gets another one each time (RFC 8252, section 7.3).
pub(super) fn matches(registered: &str, asked: &str) -> bool {
    if registered == asked {
        return true;
    }
    let without_port = |text: &str| {
        let mut url = Url::parse(text).ok()?;
        let is_local = url.scheme() == "http" && is_loopback(&url);
        (is_local && url.set_port(None).is_ok()).then(|| url.to_string())
    };
    without_port(registered).is_some_and(|known| Some(known) == without_port(asked))
}

#[cfg(test)]
mod tests {
    use super::{check, check_host, check_private_redirect, matches};
    use crate::facade::tests::config;

    #[test]
    fn codes_go_to_https_and_to_this_computer() {
        let mut config = config();
        config.allowed_redirects = vec!["cursor://anysphere.cursor-mcp/oauth/callback".into()];
        for good in [
            "https://app.example.com/callback",
            "https://app.example.com",
            "https://app.example.com/callback?a=b",
            "http://127.0.0.1:1234/callback",
            "http://localhost:1234/callback",
            "http://[::1]/callback",
            "cursor://anysphere.cursor-mcp/oauth/callback",
        ] {
            assert!(check(good, &config).is_ok(), "{good}");
        }
        for bad in [
            "http://app.example.com/callback",
            "http://127.0.0.2.example.com/",
            "http://localhost.example.com/",
            "http://127.0.0.1@example.com/",
            "https://user@example.com/",
            "https://user:password@example.com/",
            "https://example.com/#fragment",
            "https://example.com/#",
            "https://example.com\\@evil.example/",
            "https://example.com/a/../b",
            "https://EXAMPLE.com/",
            "https://example.com:443/",
            "https://exämple.com/",
            " https://example.com/",
            "https://exam\tple.com/",
            "//example.com/",
            "/callback",
            "",
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "java\nscript:alert(1)",
            "data:text/html,<script>alert(1)</script>",
            "file:///etc/passwd",
            "vbscript:x",
            "blob:https://example.com/1",
            "cursor://anysphere.cursor-mcp/oauth/callback/",
            "cursor://other/oauth/callback",
            "urn:ietf:wg:oauth:2.0:oob",
            "$(touch /tmp/x)",
            "--flag",
            &format!("https://example.com/{}", "a".repeat(600)),
        ] {
            assert!(check(bad, &config).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_operator_can_keep_to_hosts_that_are_known() {
        let mut config = config();
        config.redirect_hosts = Some(vec!["app.example.com".into(), "*.example.org".into()]);
        for (uri, good) in [
            ("https://app.example.com/callback", true),
            ("https://a.b.example.org/callback", true),
            ("http://127.0.0.1:1/callback", true),
            ("https://example.org/callback", false),
            ("https://evilexample.org/callback", false),
            ("https://app.example.com.evil.org/callback", false),
        ] {
            assert_eq!(check(uri, &config).is_ok(), good, "{uri}");
        }
    }

    #[test]
    fn hosts_are_names_without_anything_around() {
        for good in ["claude.ai", "localhost", "10.0.0.1", "[::1]", "a_b.example"] {
            assert_eq!(check_host(good, false), Ok(()), "{good}");
        }
        assert_eq!(check_host("*.example.com", true), Ok(()));
        for (wrong, right) in [
            ("https://claude.ai", "`claude.ai`"),
            ("https://claude.ai/callback", "`claude.ai`"),
            ("claude.ai:443", "`claude.ai`"),
            ("claude.ai/", "`claude.ai`"),
            ("Claude.AI", "`claude.ai`"),
            ("*.Example.com", "`*.example.com`"),
            ("*", "without the key"),
            ("*.*", "without the key"),
            ("", "such as"),
        ] {
            let problem = check_host(wrong, true).expect_err(wrong);
            assert!(problem.contains(right), "{wrong}: {problem}");
        }
        for wrong in ["*", "*.example.com", "https://a.example"] {
            assert!(check_host(wrong, false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_configuration_allows_what_a_browser_would_run() {
        assert!(check_private_redirect("vscode://vscode.github-authentication/did").is_ok());
        for bad in [
            "javascript:alert(1)",
            "file:///a",
            "https://example.com/",
            "plain",
        ] {
            assert!(check_private_redirect(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_port_of_a_program_on_this_computer_may_differ() {
        let same = |a: &str, b: &str| matches(a, b);
        assert!(same("http://127.0.0.1:1/a", "http://127.0.0.1:2/a"));
        assert!(same("http://localhost/a", "http://localhost:2/a"));
        assert!(!same("http://127.0.0.1:1/a", "http://127.0.0.1:2/b"));
        assert!(!same("http://127.0.0.1:1/a", "http://localhost:1/a"));
        assert!(!same("https://a.example/x", "https://a.example:8443/x"));
        assert!(!same("https://a.example/x", "https://a.example/x/"));
        assert!(!same("https://a.example/x", "https://a.example/x?y"));
    }
}
