//! URIs that everybody reads alike: what rules about them can be sure of.

/// Whether all servers take a URI for the same resource: its path has no `.`, `..` or empty segments,
/// no backslash, no fragment, no escape of what needs none, its scheme is in lower case, and one of a
/// file has no host.
#[must_use]
pub fn is_plain(uri: &str) -> bool {
    if uri
        .bytes()
        .any(|byte| byte == b'\\' || byte <= b' ' || byte == 0x7f)
        || has_needless_escape(uri)
    {
        return false;
    }
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    // `file:/a`, `file://localhost/a` and `file:///a` are one file.
    if uri.contains('#') || (scheme == "file" && !rest.starts_with("///")) {
        return false;
    }
    if scheme.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return false;
    }
    let path = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            // Of the web it is a host, whose case is nothing; elsewhere it is mostly a name.
            let is_host = matches!(scheme, "http" | "https");
            if is_host && authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return false;
            }
            path
        }
        None => rest.strip_prefix('/').unwrap_or(rest),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        // A path may end with a slash.
        let is_inner = segments.peek().is_some();
        if segment == "." || segment == ".." || (segment.is_empty() && is_inner) {
            return false;
        }
    }
    true
}

/// Whether a character is escaped that need not be, or that separates segments (RFC 3986, section 2).
fn has_needless_escape(uri: &str) -> bool {
    let mut rest = uri.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return true;
        };
        if byte.is_ascii_alphanumeric() || b"-._~/\\%:@!$&'()*+,;=".contains(&byte) || byte == 0 {
            return true;
        }
        rest = &rest[at + 3..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn what_two_servers_may_take_for_two_resources_is_not_plain() {
        for plain in [
            "file:///srv/a.txt",
            "file:///srv/",
            "file:///srv/{path}",
            "file:///a%20b",
            "notes://",
            "notes://Monday",
            "memo:insights",
            "https://example.com/a?q=../b",
            "https://example.com",
            "test://static/resource/1",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for strange in [
            "file:///srv/../etc/passwd",
            "file:///srv/..",
            "file:///srv/./a",
            "file:///srv//a",
            "file:///srv/%2e%2e/etc",
            "file:///srv/..%2fetc",
            "file:///srv/%252e",
            "file:///%65tc/passwd",
            "file:///srv\\a",
            "FILE:///srv/a",
            "https://Example.com/a",
            "file:///srv/%zz",
            "file:///srv/%0",
            "file:///srv/\u{0}",
        ] {
            assert!(!is_plain(strange), "{strange}");
        }
    }
}
