use super::*;

fn sealer() -> Sealer {
    Sealer::with_random_key().expect("random bytes")
}

fn task(id: &str) -> Task {
    Task {
        home: Home {
            backend: "b".into(),
            endpoint: 0,
        },
        id: id.to_owned(),
    }
}

#[test]
fn a_task_opens_for_its_principal_alone() {
    let sealer = sealer();
    let token = seal(&sealer, "alice", &task("786512e2"), Some(1)).expect("sealed");
    assert_eq!(open(&sealer, "alice", &token), Some(task("786512e2")));
    assert_eq!(open(&sealer, "bob", &token), None);
    assert_eq!(open(&tests::sealer(), "alice", &token), None);
    assert_eq!(open(&sealer, "alice", "786512e2"), None);
}

#[test]
fn a_token_is_short_and_an_endless_identifier_refused() {
    let sealer = sealer();
    let usual = task("786512e2-9e0d-44bd-8f29-789f320fe840");
    let token = seal(&sealer, "alice", &usual, None).expect("sealed");
    assert!(token.len() < 200, "{}", token.len());
    assert!(seal(&sealer, "alice", &task(&"x".repeat(MAX_ID_LEN + 1)), None).is_err());
}
