use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use switchboard_protocol::call::Principal;

use super::{AuthError, Authenticator};
use crate::config::{ApiKeyConfig, AuthConfig, KeyDigest};

fn key(name: &str, secret: &str, groups: &[&str]) -> ApiKeyConfig {
    ApiKeyConfig {
        name: name.to_owned(),
        key_sha256: KeyDigest::from(<[u8; 32]>::from(Sha256::digest(secret))),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
    }
}

fn two_keys() -> Authenticator {
    Authenticator::new(Some(&AuthConfig {
        api_keys: vec![key("ci", "first", &["build"]), key("ops", "second", &[])],
    }))
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
    let open = Authenticator::new(None);
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
