use jsonwebtoken::Algorithm;
use serde_json::json;

use super::*;

fn issuer() -> Issuer {
    let config = json!({ "issuer": "https://id.example.com" });
    let scopes: ScopesConfig =
        serde_json::from_value(json!({ "required": ["mcp"], "profiles": { "coding": ["code"] } }))
            .unwrap();
    let here = "https://mcp.example.com".parse().unwrap();
    Issuer {
        config: serde_json::from_value(config).unwrap(),
        facade: None,
        resource: Arc::new(Resource::below(&here)),
        scopes: Arc::new(Scopes::new(&scopes)),
        keys: KeySource::fixed("https://id.example.com", KeySet::default()),
        subjects: Mutex::default(),
    }
}

/// The key of RFC 8037, appendix A.2.
fn key() -> Arc<Key> {
    let set = json!({ "keys": [{
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }] });
    let keys = KeySet::parse(set.to_string().as_bytes(), &KeySet::default()).unwrap();
    Arc::clone(keys.candidates(None, Algorithm::EdDSA).next().unwrap())
}

fn reach(audience: Audience, scopes: &[&str]) -> Arc<Reach> {
    let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
    Arc::new(Reach { audience, scopes })
}

fn endpoints(profiles: &[Option<&str>]) -> Audience {
    let profiles = profiles.iter().map(|profile| profile.map(str::to_owned));
    Audience::Endpoints(profiles.collect())
}

#[test]
fn a_principal_is_kept_by_tokens_for_the_same_endpoint_alone() {
    let (issuer, key) = (issuer(), key());
    let anna = || Principal::new("https://id.example.com|anna");
    let (past, later) = (now() - 600, now() + 600);
    let both = ["mcp", "code"];
    let principal = issuer.share(anna(), &reach(Audience::Everywhere, &both), past, &key);
    let knows = |profile| issuer.knows(&principal, profile, 0);
    assert!(!knows(None) && issuer.knows(&principal, None, GRACE));

    // Too few scopes, or for another endpoint.
    issuer.share(anna(), &reach(Audience::Everywhere, &[]), later, &key);
    issuer.share(
        anna(),
        &reach(endpoints(&[Some("other")]), &both),
        later,
        &key,
    );
    assert!(!knows(None) && !knows(Some("coding")));
    assert!(knows(Some("other")));

    // What is enough for one endpoint is not for the next.
    issuer.share(anna(), &reach(Audience::Everywhere, &["mcp"]), later, &key);
    assert!(knows(None) && !knows(Some("coding")));
    issuer.share(anna(), &reach(Audience::Everywhere, &both), later, &key);
    assert!(knows(Some("coding")));
}

#[test]
fn tokens_of_one_kind_are_one_and_kinds_are_bounded() {
    let (issuer, key) = (issuer(), key());
    let anna = || Principal::new("https://id.example.com|anna");
    let later = now() + 600;
    let first = issuer.share(anna(), &reach(Audience::Everywhere, &["mcp"]), later, &key);
    let again = issuer.share(anna(), &reach(Audience::Everywhere, &["mcp"]), later, &key);
    assert!(Arc::ptr_eq(&first, &again));
    for number in 0..2 * MAX_VARIANTS {
        let profile = format!("p{number}");
        let reach = reach(endpoints(&[Some(&profile)]), &["mcp"]);
        issuer.share(anna(), &reach, later + 1, &key);
    }
    assert_eq!(issuer.subjects()[&first.id].len(), MAX_VARIANTS);
}
