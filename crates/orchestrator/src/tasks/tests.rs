use super::*;
use switchboard_protocol::call::Principal;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::method::Method;
use switchboard_protocol::version::Version;

fn sealer() -> Sealer {
    Sealer::with_random_key().expect("random bytes")
}

/// A call of this principal in this profile.
fn call(principal: &str, profile: Option<&str>) -> Call {
    let text = br#"{"jsonrpc":"2.0","id":1,"method":"tasks/get"}"#;
    Call {
        profile: profile.map(Arc::from),
        ..Call::new(
            Envelope::parse(Bytes::from_static(text)).expect("valid"),
            Method::TasksGet,
            Arc::new(Principal::new(principal)),
            Version::LATEST,
        )
    }
}

fn task(id: &str) -> Task {
    Task {
        home: Home {
            backend: "b".into(),
            replica: None,
            endpoint: 0,
        },
        tool: "b__later".to_owned(),
        id: id.to_owned(),
    }
}

#[test]
fn a_task_opens_for_its_principal_in_its_profile_alone() {
    let (sealer, alice) = (sealer(), call("alice", None));
    let token = seal(&sealer, &alice, &task("786512e2"), Some(1)).expect("sealed");
    assert_eq!(open(&sealer, &alice, &token), Some(task("786512e2")));
    assert_eq!(open(&sealer, &call("bob", None), &token), None);
    assert_eq!(open(&sealer, &call("alice", Some("p")), &token), None);
    assert_eq!(open(&tests::sealer(), &alice, &token), None);
    assert_eq!(open(&sealer, &alice, "786512e2"), None);

    let coding = call("alice", Some("coding"));
    let token = seal(&sealer, &coding, &task("786512e2"), Some(1)).expect("sealed");
    assert_eq!(open(&sealer, &coding, &token), Some(task("786512e2")));
    assert_eq!(open(&sealer, &alice, &token), None);
    assert_eq!(open(&sealer, &call("alice", Some("p")), &token), None);
}

#[test]
fn a_token_is_short_and_an_endless_identifier_refused() {
    let sealer = sealer();
    let usual = task("786512e2-9e0d-44bd-8f29-789f320fe840");
    let token = seal(&sealer, &call("alice", None), &usual, None).expect("sealed");
    assert!(token.len() < 200, "{}", token.len());
    assert!(
        seal(
            &sealer,
            &call("alice", None),
            &task(&"x".repeat(MAX_ID_LEN + 1)),
            None
        )
        .is_err()
    );
}
