use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};

use super::{Issuer, SigningKey};

fn verified(issuer: &Issuer, key: usize, algorithm: Algorithm, token: &str) -> Value {
    let jwk: Jwk = serde_json::from_value(issuer.jwks()["keys"][key].clone()).unwrap();
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&["here"]);
    validation.set_issuer(&[issuer.url()]);
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    decode::<Value>(token, &key, &validation).unwrap().claims
}

#[tokio::test]
async fn its_tokens_are_those_of_the_keys_that_it_publishes() {
    let issuer = Issuer::start().await;
    let token = issuer.token("anna", "here", "mcp");
    let claims = verified(&issuer, 0, Algorithm::ES256, &token);
    assert_eq!(claims["sub"], "anna");
    assert_eq!(claims["scope"], "mcp");

    issuer.add_key(SigningKey::rsa("key-2", Algorithm::RS256));
    let newer = issuer.sign(&issuer.claims("ben", "here"));
    assert_eq!(
        verified(&issuer, 0, Algorithm::RS256, &newer)["sub"],
        json!("ben")
    );
    assert_eq!(
        verified(&issuer, 1, Algorithm::ES256, &token)["sub"],
        json!("anna")
    );
}
