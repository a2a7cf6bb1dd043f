//! What browsers are led through: the question for consent, the identity provider, and back.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use switchboard_policy::facade::id_token::IdTokenError;
use switchboard_policy::facade::secrets::random_text;
use switchboard_policy::facade::{
    Authorization, Client, ClientId, Form, Login, OAuthError, Unable, paths,
};

use super::answer::redirect;
use super::cookies::Cookie;
use super::page::{self, Asking};
use super::provider::ProviderError;
use super::{Facade, read_form};

impl Facade {
    /// A client has sent a browser here.
    pub(super) async fn authorize(&self, head: &Parts, peer: IpAddr, now: u64) -> Response {
        let asked = self.asked(head, peer, now).await;
        let (client, authorization) = match asked {
            Ok(asked) => asked,
            Err(error) => return mistake(error),
        };
        let headers = &head.headers;
        let consents = self
            .policy
            .consents(self.cookie(headers, Cookie::Consents), now);
        if consents.has(&authorization, now) {
            return self.forward(authorization, now).await;
        }
        let response = self.question(&client, &authorization, headers, now);
        response.unwrap_or_else(|Unable| unable())
    }

    async fn asked(
        &self,
        head: &Parts,
        peer: IpAddr,
        now: u64,
    ) -> Result<(Client, Authorization), OAuthError> {
        let form = Form::parse(head.uri.query().unwrap_or_default().as_bytes())?;
        let id = form.get("client_id").ok_or(OAuthError {
            error: "invalid_request",
            description: "there is no client",
        })?;
        let client = match self.policy.client(id, now)? {
            ClientId::Registered(client) => client,
            ClientId::Document(url) => {
                let host = url.host_str().unwrap_or_default();
                if !self.policy.may_fetch_from(host) {
                    return Err(OAuthError {
                        error: "invalid_client",
                        description: "clients of this host are not served here",
                    });
                }
                self.documents.client(&url, peer).await?
            }
        };
        let authorization = self.policy.authorization(&client, &form)?;
        Ok((client, authorization))
    }

    /// Asks the person in front of the browser.
    fn question(
        &self,
        client: &Client,
        authorization: &Authorization,
        headers: &HeaderMap,
        now: u64,
    ) -> Result<Response, Unable> {
        // Kept, so that several pages of one browser can be answered.
        let known = self.cookie(headers, Cookie::Browser);
        let known = known.filter(|secret| secret.len() == 43);
        let browser = match known {
            Some(secret) => secret.to_owned(),
            None => random_text()?,
        };
        let question = self.policy.question(authorization, &browser, now)?;
        let config = self.policy.config();
        let scopes: Vec<_> = config.scopes.iter().map(|scope| scope.as_str()).collect();
        let mut response = page::question(&Asking {
            gateway: config.name.as_deref().unwrap_or(self.policy.issuer()),
            client,
            authorization,
            provider: config.issuer.as_str(),
            provider_scopes: &scopes.join(", "),
            question: &question,
            consent_url: &self.policy.url(paths::CONSENT),
        });
        Cookie::Browser.set(&mut response, &browser, self.policy.is_encrypted());
        Ok(response)
    }

    /// The person in front of the browser has answered.
    pub(super) async fn consent(&self, head: &Parts, body: Body, now: u64) -> Response {
        let headers = &head.headers;
        let form = match read_form(head, body).await {
            Ok(form) => form,
            Err(response) => return *response,
        };
        let sealed = form.get("request").unwrap_or_default();
        let browser = self.cookie(headers, Cookie::Browser);
        let authorization = match self.policy.answered(sealed, browser, now) {
            Ok(authorization) => authorization,
            Err(error) => return mistake(error),
        };
        if form.get("decision") != Some("allow") {
            return self.back(&authorization, &[("error", "access_denied")]);
        }
        let consents = self
            .policy
            .consents(self.cookie(headers, Cookie::Consents), now);
        let consents = consents.with(&authorization, now);
        let Ok(consents) = self.policy.seal_consents(&consents, now) else {
            return unable();
        };
        let mut response = self.forward(authorization, now).await;
        Cookie::Consents.set(&mut response, &consents, self.policy.is_encrypted());
        response
    }

    /// Sends the browser to the identity provider. Only ever after consent: from here on nobody else
    /// asks for it.
    async fn forward(&self, authorization: Authorization, now: u64) -> Response {
        let known = match self.provider.known().await {
            Ok(known) => known,
            Err(error) => {
                let issuer = self.policy.config().issuer.as_str();
                tracing::warn!(issuer, %error, "nobody can log in: the identity provider cannot be asked");
                let what = "The identity provider cannot be reached. Try again later.";
                return page::mistake(StatusCode::SERVICE_UNAVAILABLE, what);
            }
        };
        let Ok(begun) = self.policy.begin_login(authorization, now) else {
            return unable();
        };
        let mut to = known.authorization_endpoint.clone();
        to.query_pairs_mut().extend_pairs(&begun.parameters);
        let mut response = redirect(to.as_str());
        Cookie::Login.set(&mut response, &begun.cookie, self.policy.is_encrypted());
        response
    }

    /// The browser comes back from the identity provider.
    pub(super) async fn callback(&self, head: &Parts, now: u64) -> Response {
        let query = head.uri.query().unwrap_or_default();
        let form = match Form::parse(query.as_bytes()) {
            Ok(form) => form,
            Err(error) => return mistake(error),
        };
        let names_itself = match self.provider.known().await {
            Ok(known) => known.names_itself,
            Err(_) => return unable(),
        };
        let cookie = self.cookie(&head.headers, Cookie::Login);
        let login = match self.policy.end_login(cookie, &form, names_itself, now) {
            Ok(login) => login,
            // The cookie stays: a page of a stranger must not end what somebody has begun.
            Err(error) => return mistake(error),
        };
        let mut response = self.finish(&login, &form, now).await;
        Cookie::Login.clear(&mut response, self.policy.is_encrypted());
        response
    }

    async fn finish(&self, login: &Login, form: &Form, now: u64) -> Response {
        let authorization = &login.authorization;
        if let Some(error) = form.get("error") {
            return self.back(authorization, &[("error", passed_on(error))]);
        }
        let code = form.get("code").unwrap_or_default();
        match self.code(login, code, now).await {
            Err(ProviderError::Scopes) => {
                let why = "this user may have none of the scopes that were asked for";
                let parameters = [("error", "access_denied"), ("error_description", why)];
                self.back(authorization, &parameters)
            }
            Ok(code) => self.back(authorization, &[("code", &code)]),
            Err(error) => {
                let issuer = self.policy.config().issuer.as_str();
                tracing::warn!(issuer, %error, "nobody was logged in");
                let why = match error {
                    ProviderError::IdToken(IdTokenError::TooMuch) => {
                        "the identity provider says too much of this user"
                    }
                    _ => "the identity provider did not confirm the login",
                };
                let parameters = [("error", "server_error"), ("error_description", why)];
                self.back(authorization, &parameters)
            }
        }
    }

    async fn code(&self, login: &Login, code: &str, now: u64) -> Result<String, ProviderError> {
        let redeemed = self.provider.redeem(&self.policy, login, code, now).await;
        let identity = self.policy.identity(&redeemed?)?;
        let scopes = &login.authorization.scopes;
        if !self.policy.may_have_any(&identity, scopes) {
            return Err(ProviderError::Scopes);
        }
        let code = self.policy.code(&login.authorization, identity, now);
        code.map_err(|Unable| ProviderError::Client)
    }

    /// Sends the browser back to the client.
    fn back(&self, authorization: &Authorization, parameters: &[(&str, &str)]) -> Response {
        match self.policy.back_to_client(authorization, parameters) {
            Some(to) => redirect(&to),
            None => unable(),
        }
    }

    fn cookie<'h>(&self, headers: &'h HeaderMap, cookie: Cookie) -> Option<&'h str> {
        cookie.read(headers, self.policy.is_encrypted())
    }
}

/// What a client is told of an error of the identity provider (RFC 6749, section 4.1.2.1): what it can
/// do something about.
fn passed_on(error: &str) -> &'static str {
    match error {
        "access_denied" | "login_required" | "consent_required" | "interaction_required" => {
            "access_denied"
        }
        "temporarily_unavailable" => "temporarily_unavailable",
        _ => "server_error",
    }
}

fn mistake(error: OAuthError) -> Response {
    let status = match error.error {
        "server_error" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    page::mistake(status, &error.to_string())
}

fn unable() -> Response {
    page::mistake(StatusCode::SERVICE_UNAVAILABLE, "Try again later.")
}
