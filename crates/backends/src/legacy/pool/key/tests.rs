use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use switchboard_protocol::call::{ClientSession, Principal};
use switchboard_protocol::capabilities::ClientCapabilities;
use switchboard_protocol::delivery::Redactor;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::method::Method;

use super::*;

const NOTHING: &str = "{}";
const ROOTS: &str = r#"{"roots":{"listChanged":true}}"#;
const UI: &str = r#"{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html"]}}}"#;
const OTHER_EXTENSION: &str = r#"{"extensions":{"dev.example/x":{}},"experimental":{"y":1}}"#;

struct Client(&'static str);

impl ClientSession for Client {
    fn id(&self) -> &str {
        self.0
    }

    fn request(
        &self,
        _: &str,
        _: Option<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, Bytes>> + Send>> {
        Box::pin(std::future::pending())
    }

    fn notify(&self, _: Bytes) -> bool {
        false
    }

    fn redactor(&self, _: &str) -> Option<Arc<dyn Redactor>> {
        None
    }
}

fn call(principal: &str, capabilities: &str) -> Call {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","_meta":{{"io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}}}"#
    );
    Call::new(
        Envelope::parse(text.into()).expect("valid"),
        Method::ToolsCall,
        Arc::new(Principal::new(principal)),
        Version::LATEST,
    )
}

fn of_client(client: &'static str, version: Version, call: Call) -> Call {
    Call {
        client: Some(Arc::new(Client(client))),
        version,
        ..call
    }
}

#[test]
fn shared_tells_callers_apart_only_if_they_declare_something() {
    let wish = |call: &Call, mux| Wish::of(SessionScope::Shared, call, mux);
    let common = wish(&call("ann", NOTHING), true);
    assert_eq!(common.key.principal, None);
    assert_eq!(common.key.introduction, Introduction::BARE);
    assert_eq!(common.sharing, Sharing::Together);
    assert_eq!(wish(&call("bob", OTHER_EXTENSION), true), common);
    let old = of_client("c", Version::V2025_03_26, call("ann", NOTHING));
    assert_eq!(wish(&old, false), common);

    let ann = wish(&call("ann", ROOTS), true);
    assert_eq!(ann.key.principal.as_deref(), Some("ann"));
    assert!(ann.key.introduction.capabilities.roots_list_changed);
    assert_eq!(ann.sharing, Sharing::Apart { may_share: false });
    let over_http = wish(&call("ann", ROOTS), false);
    assert_eq!(over_http.sharing, Sharing::Apart { may_share: true });
    assert_eq!(over_http.key, ann.key);
    assert_ne!(wish(&call("bob", ROOTS), true).key, ann.key);

    let ui = wish(&call("ann", UI), true);
    assert!(ui.key.introduction.ui && !ui.key.introduction.may_be_asked());
    assert_eq!(ui.key.principal.as_deref(), Some("ann"));
    assert_eq!(ui.sharing, Sharing::Together);
}

#[test]
fn the_version_asked_for_is_the_callers_if_it_has_a_handshake() {
    let version = |call: &Call| {
        let wish = Wish::of(SessionScope::Shared, call, true);
        (wish.key.introduction.version, wish.key.client)
    };
    assert_eq!(version(&call("ann", ROOTS)), (Version::LATEST_LEGACY, None));
    let old = of_client("c", Version::V2025_06_18, call("ann", ROOTS));
    assert_eq!(version(&old), (Version::V2025_06_18, None));
}

#[test]
fn per_principal_and_per_client_keep_one_session_for_each() {
    for capabilities in [NOTHING, ROOTS] {
        let wish = |scope, call: &Call, mux| Wish::of(scope, call, mux);
        let modern = call("ann", capabilities);
        let one = of_client("one", Version::LATEST_LEGACY, call("ann", capabilities));
        let two = of_client("two", Version::LATEST_LEGACY, call("ann", capabilities));

        let per_principal = |call: &Call, mux| wish(SessionScope::PerPrincipal, call, mux);
        assert_eq!(per_principal(&modern, true), per_principal(&one, true));
        let bobs = per_principal(&call("bob", capabilities), true);
        assert_ne!(per_principal(&modern, true).key, bobs.key);
        let in_turn = if capabilities == ROOTS {
            Sharing::InTurn
        } else {
            Sharing::Together
        };
        assert_eq!(per_principal(&modern, true).sharing, in_turn);
        assert_eq!(per_principal(&modern, false).sharing, Sharing::Together);

        let per_client = |call: &Call, mux| wish(SessionScope::PerClient, call, mux);
        assert_eq!(per_client(&modern, true), per_principal(&modern, true));
        assert_eq!(per_client(&one, true).key.client.as_deref(), Some("one"));
        assert_ne!(per_client(&one, true).key, per_client(&two, true).key);
        assert_eq!(per_client(&one, true).sharing, Sharing::Together);
    }
}

#[test]
fn capabilities_tell_sessions_apart() {
    let key = |capabilities| Wish::of(SessionScope::PerPrincipal, &call("ann", capabilities), true);
    let plain = key(r#"{"elicitation":{}}"#);
    assert_ne!(plain, key(r#"{"elicitation":{"url":{}}}"#));
    assert_eq!(
        plain,
        key(r#"{"elicitation":{"form":{}},"experimental":{}}"#)
    );
    assert_ne!(key(NOTHING), key(UI));
    let nothing = key(NOTHING).key.introduction.capabilities;
    assert_eq!(nothing, ClientCapabilities::default());
}
