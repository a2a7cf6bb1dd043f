use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use switchboard_protocol::call::Principal;

use super::{AuthError, Authentication, Authenticator, Presented, Reason, Resource};
use crate::config::{ApiKeyConfig, AuthConfig, KeyDigest};

fn key(name: &str, secret: &str, groups: &[&str]) -> ApiKeyConfig {
    ApiKeyConfig {
        name: name.to_owned(),
        key_sha256: KeyDigest::from(<[u8; 32]>::from(Sha256::digest(secret))).into(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        expires: None,
        profiles: None,
    }
}

fn here() -> Resource {
    Resource::below(&"https://mcp.example.com".parse().unwrap())
}

fn of(api_keys: Vec<ApiKeyConfig>) -> Authenticator {
    let config = AuthConfig {
        api_keys,
        ..AuthConfig::default()
    };
    Authenticator::new(Some(&config), &here(), None)
}

fn two_keys() -> Authenticator {
    of(vec![
        key("ci", "first", &["build"]),
        key("ops", "second", &[]),
    ])
}

fn with(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn without_configuration_everyone_is_the_same_anonymous_principal() {
    let open = Authenticator::new(None, &here(), None);
    let one = open.authenticate(&with(&[])).unwrap();
    let other = open.authenticate(&with(&["Bearer anything"])).unwrap();
    assert_eq!(*one, Principal::anonymous());
    assert!(Arc::ptr_eq(&one, &other));
}

#[test]
fn a_key_is_its_principal() {
    let keys = two_keys();
    for value in ["Bearer first", "bearer first", "BEARER   first "] {
        let principal = keys.authenticate(&with(&[value])).unwrap();
        assert_eq!(principal.id, "key:ci");
        assert_eq!(principal.groups, ["build"]);
    }
    let principal = keys.authenticate(&with(&["Bearer second"])).unwrap();
    assert_eq!(principal.id, "key:ops");
}

#[test]
fn no_credential_is_missing() {
    assert_eq!(two_keys().authenticate(&with(&[])), Err(AuthError::Missing));
}

#[test]
fn whatever_else_is_invalid() {
    let keys = two_keys();
    let wrong: [&[&str]; 12] = [
        &[""],
        &["Bearer"],
        &["Bearer "],
        &["Bearerfirst"],
        &["Bearer\tfirst"],
        &["Basic first"],
        &["first"],
        &["Bearer First"],
        &["Bearer first second"],
        &["Bearer first", "Bearer first"],
        &["Bearer first", "Basic abc"],
        &["Bearer a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"],
    ];
    for values in wrong {
        assert_eq!(
            keys.authenticate(&with(values)),
            Err(AuthError::Invalid),
            "{values:?}"
        );
    }
    let mut odd = HeaderMap::new();
    odd.insert(
        AUTHORIZATION,
        HeaderValue::from_bytes(b"Bearer \xff").unwrap(),
    );
    assert_eq!(keys.authenticate(&odd), Err(AuthError::Invalid));
}

#[test]
fn the_challenge_names_the_scheme() {
    assert_eq!(AuthError::Missing.challenge(), "Bearer");
    assert_eq!(
        AuthError::Invalid.challenge(),
        "Bearer error=\"invalid_token\""
    );
}

#[test]
fn no_digest_is_shown() {
    assert_eq!(format!("{:?}", two_keys()), "Authenticator(2 keys)");
}

#[test]
fn a_key_of_profiles_is_for_them_alone() {
    let mut scoped = key("ci", "first", &[]);
    scoped.profiles = Some(vec!["coding".to_owned()]);
    let keys = of(vec![scoped, key("ops", "second", &[])]);
    let ask = |secret: &str, path: &str| {
        let headers = with(&[&format!("Bearer {secret}")]);
        let presented = Presented {
            headers: &headers,
            certificate: None,
            path,
        };
        match keys.identify(&presented) {
            Authentication::Decided(verdict) => verdict.map(|principal| principal.id.clone()),
            Authentication::Pending(_) => unreachable!("there is no issuer"),
        }
    };
    assert_eq!(ask("first", "/mcp/coding"), Ok("key:ci".to_owned()));
    for path in [
        "/mcp",
        "/sse",
        "/mcp/",
        "/mcp/coding2",
        "/mcp/coding/",
        "/mcp/Coding",
    ] {
        assert_eq!(ask("first", path), Err(Reason::Profile), "{path}");
        let headers = with(&["Bearer first"]);
        let principal_of = |reason| {
            keys.principal_of(&headers, reason)
                .map(|principal| principal.id.clone())
        };
        assert_eq!(principal_of(Reason::Profile).as_deref(), Some("key:ci"));
        assert_eq!(principal_of(Reason::ExpiredKey), None);
        assert_eq!(ask("second", path), Ok("key:ops".to_owned()), "{path}");
    }
}

#[test]
fn keys_of_one_name_overlap_and_each_ends_for_itself() {
    let digests = ["11", "22"].map(|pair| pair.repeat(31) + "00");
    let both: AuthConfig = serde_json::from_value(serde_json::json!({
        "api_keys": [{
            "name": "ci",
            "key_sha256": digests,
            "expires": "2027-01-31",
        }],
    }))
    .unwrap();
    assert_eq!(both.api_keys[0].key_sha256.iter().count(), 2);
    let digest = |secret: &str| KeyDigest::from(<[u8; 32]>::from(Sha256::digest(secret)));
    let before = of(vec![key("ci", "first", &[])]);
    let old = before.authenticate(&with(&["Bearer first"])).unwrap();
    let overlap = of(vec![key("ci", "first", &[])]).keeping(&before);
    assert!(overlap.knows(&old, None));
    let mut newer = key("ci", "second", &[]);
    newer.key_sha256 = digest("second").into();
    let after = of(vec![newer]).keeping(&overlap);
    assert!(!after.knows(&old, None));
}

#[test]
fn a_key_is_refused_after_its_last_day() {
    let mut old = key("ci", "first", &[]);
    old.expires = Some("2020-01-31".parse().unwrap());
    let keys = of(vec![old]);
    assert_eq!(
        keys.authenticate(&with(&["Bearer first"])),
        Err(AuthError::Invalid)
    );
}
