//! Errors by the codes that a legacy revision knows.

use bytes::Bytes;
use switchboard_protocol::error::code;
use switchboard_protocol::json::Span;
use switchboard_protocol::method::Method;
use switchboard_protocol::splice::{Splice, member};
use switchboard_protocol::version::Version;

/// The error object of a failed request of `method` as a client of `version` knows it: with another
/// code where 2026-07-28 has one of its own, its message and data as they are.
pub(crate) fn error(version: Version, method: Method, raw: &Bytes) -> Bytes {
    let Some(span) = member(raw, "code").map(|code| Span::of_part(raw, code)) else {
        return raw.clone();
    };
    let original = std::str::from_utf8(span.of(raw)).ok();
    let Some(original) = original.and_then(|code| code.parse().ok()) else {
        return raw.clone();
    };
    let mapped = legacy_code(version, method, original, raw);
    if mapped == original {
        return raw.clone();
    }
    let mut splice = Splice::new();
    splice.replace(span, mapped.to_string().into_bytes());
    let mut out = Vec::with_capacity(raw.len());
    splice.apply(raw, Span::of_part(raw, raw), &mut out);
    out.into()
}

fn legacy_code(version: Version, method: Method, original: i64, raw: &[u8]) -> i64 {
    match original {
        code::INVALID_PARAMS if method == Method::ResourcesRead && !is_of_the_gateway(raw) => {
            code::LEGACY_RESOURCE_NOT_FOUND
        }
        // The request needs what its client said at `initialize` that it cannot do.
        code::MISSING_CLIENT_CAPABILITY => code::INVALID_REQUEST,
        // Between the gateway and a server; the client has sent no such header.
        code::HEADER_MISMATCH | code::UNSUPPORTED_VERSION => code::INTERNAL_ERROR,
        code::LEGACY_URL_ELICITATION_REQUIRED if version < Version::V2025_11_25 => {
            code::INTERNAL_ERROR
        }
        _ => original,
    }
}

/// Whether the parameters of `resources/read` are refused for another reason than that nobody has
/// the resource: several have it, or the state of a retry does not hold.
fn is_of_the_gateway(raw: &[u8]) -> bool {
    let has_candidates =
        member(raw, "data").is_some_and(|data| member(data, "candidates").is_some());
    let message = member(raw, "message").unwrap_or_default();
    has_candidates || memchr::memmem::find(message, b"requestState").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(version: Version, method: Method, raw: &str) -> String {
        let out = error(version, method, &Bytes::copy_from_slice(raw.as_bytes()));
        String::from_utf8(out.to_vec()).expect("UTF-8")
    }

    #[test]
    fn an_unknown_resource_has_the_code_of_its_time() {
        let raw = r#"{ "code" : -32602, "message":"Resource not found","data":{"uri":"a:b"}}"#;
        let out = mapped(Version::V2025_11_25, Method::ResourcesRead, raw);
        assert_eq!(out, raw.replace("-32602", "-32002"));
        assert_eq!(mapped(Version::V2025_11_25, Method::ToolsCall, raw), raw);
        for other in [
            r#"{"code":-32602,"message":"several","data":{"uri":"a:b","candidates":[]}}"#,
            r#"{"code":-32602,"message":"requestState is not valid"}"#,
        ] {
            assert_eq!(
                mapped(Version::V2024_11_05, Method::ResourcesRead, other),
                other
            );
        }
    }

    #[test]
    fn codes_that_only_modern_clients_know_are_told_in_older_ones() {
        let cases = [(-32020, -32603), (-32021, -32600), (-32022, -32603)];
        for (modern, legacy) in cases {
            let raw = |code: i64| format!("{{\"code\":{code},\"message\":\"m\",\"data\":[1]}}");
            for version in Version::SUPPORTED_LEGACY {
                assert_eq!(
                    mapped(*version, Method::ToolsCall, &raw(modern)),
                    raw(legacy)
                );
            }
        }
    }

    #[test]
    fn urls_are_asked_for_by_error_in_one_version_only() {
        let raw = r#"{"code":-32042,"message":"m"}"#;
        assert_eq!(mapped(Version::V2025_11_25, Method::ToolsCall, raw), raw);
        let older = mapped(Version::V2025_06_18, Method::ToolsCall, raw);
        assert_eq!(older, raw.replace("-32042", "-32603"));
    }

    #[test]
    fn other_errors_pass_untouched() {
        for raw in [
            r#"{"code":503,"message":"later","data":{"reason":"starting"}}"#,
            r#"{"code":-32002,"message":"x"}"#,
            r#"{"code":1.5,"message":"x"}"#,
            r#"{"message":"x"}"#,
            "{}",
        ] {
            assert_eq!(
                mapped(Version::V2024_11_05, Method::ResourcesRead, raw),
                raw
            );
        }
    }
}
