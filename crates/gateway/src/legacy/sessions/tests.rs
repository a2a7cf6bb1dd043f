use super::*;

fn sessions(max: usize, per_principal: usize) -> Sessions {
    let config = LegacyClientsConfig {
        max_sessions: max,
        max_sessions_per_principal: per_principal,
        ..LegacyClientsConfig::default()
    };
    let sealer = Sealer::with_random_key().expect("random bytes");
    Sessions::new(
        config,
        sealer,
        None,
        Arc::new(Metrics::new().expect("a registry")),
        Arc::new(|_| None),
    )
}

fn principal(id: &str) -> Arc<Principal> {
    Arc::new(Principal::new(id))
}

fn begin(sessions: &Sessions, of: &str) -> Result<(Arc<Session>, String), CannotBegin> {
    let principal = principal(of);
    let caller = Caller {
        principal: &principal,
        profile: None,
    };
    let session = sessions.begin(caller, Transport::Streamable, None)?;
    let id = session.sealed_id().to_owned();
    Ok((session, id))
}

#[tokio::test(start_paused = true)]
async fn an_id_opens_its_session_for_its_principal_alone() {
    let all = sessions(10, 10);
    let (session, id) = begin(&all, "ada").expect("room");
    let found = all.find(&principal("ada"), &id).expect("the session");
    assert!(Arc::ptr_eq(&found, &session));
    assert!(all.find(&principal("eve"), &id).is_none());
    let (other, other_id) = begin(&all, "ada").expect("room");
    assert_ne!(id, other_id);
    assert!(all.end(&other));
    assert!(!all.end(&other));
    assert!(all.find(&principal("ada"), &other_id).is_none());
    assert!(other.is_ended());

    let mut forged = id.clone().into_bytes();
    let last = forged.len() - 3;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("ASCII");
    for wrong in ["", "0", &id[1..], &forged, &"A".repeat(100_000)] {
        assert!(all.find(&principal("ada"), wrong).is_none(), "{wrong}");
    }
    // Another process with the same keys, and with other ones.
    assert!(sessions(1, 1).find(&principal("ada"), &id).is_none());
}

#[tokio::test(start_paused = true)]
async fn another_process_with_the_same_keys_does_not_know_the_session() {
    let key = [&[7_u8; 32][..]];
    let of_process = || {
        let sealer = Sealer::new(&key).expect("a key");
        let metrics = Arc::new(Metrics::new().expect("a registry"));
        Sessions::new(
            LegacyClientsConfig::default(),
            sealer,
            None,
            metrics,
            Arc::new(|_| None),
        )
    };
    let (one, other) = (of_process(), of_process());
    let (_, id) = begin(&one, "ada").expect("room");
    begin(&other, "ada").expect("room");
    assert!(one.find(&principal("ada"), &id).is_some());
    assert!(other.find(&principal("ada"), &id).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_id_leads_to_the_replica_that_gave_it_out() {
    let key = [&[7_u8; 32][..]];
    let at = |address: Option<&str>| {
        let sealer = Sealer::new(&key).expect("a key");
        let metrics = Arc::new(Metrics::new().expect("a registry"));
        let address = address.map(Arc::from);
        Sessions::new(
            LegacyClientsConfig::default(),
            sealer,
            address,
            metrics,
            Arc::new(|_| None),
        )
    };
    let (one, other, alone) = (at(Some("https://a:1")), at(Some("https://b:1")), at(None));
    let (_, id) = begin(&one, "ada").expect("room");
    assert!(id.len() <= MAX_ID_LEN);
    let ada = principal("ada");
    assert_eq!(other.replica_of(&ada, &id).as_deref(), Some("https://a:1"));
    assert_eq!(other.replica_of(&principal("eve"), &id), None);
    assert_eq!(one.replica_of(&ada, &id), None);
    assert_eq!(alone.replica_of(&ada, &id), None);
    // One that began where there was only one.
    let (_, id) = begin(&alone, "ada").expect("room");
    assert_eq!(other.replica_of(&ada, &id), None);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_bounded_for_each_principal_and_in_all() {
    let all = sessions(3, 2);
    let (first, _) = begin(&all, "ada").expect("room");
    begin(&all, "ada").expect("room");
    assert_eq!(begin(&all, "ada").err(), Some(CannotBegin::TooManyOfYours));
    begin(&all, "eve").expect("room");
    assert_eq!(begin(&all, "eve").err(), Some(CannotBegin::Full));
    all.end(&first);
    begin(&all, "ada").expect("room again");
    all.close();
    assert_eq!(all.count(), 0);
    assert_eq!(begin(&all, "ada").err(), Some(CannotBegin::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_aborted_handshakes_leave_nothing() {
    let all = Arc::new(sessions(1_000, 1_000));
    let mut refused = 0;
    for _ in 0..100_000 {
        refused += usize::from(begin(&all, "ada").is_err());
    }
    assert_eq!((refused, all.count()), (99_000, 1_000));
    let looking = tokio::spawn({
        let all = Arc::clone(&all);
        async move { all.look_after(|_| true, |_| {}).await }
    });
    sleep(FIRST_USE + POLL_INTERVAL * 2).await;
    assert_eq!(all.count(), 0);
    begin(&all, "ada").expect("room again");
    all.close();
    looking.await.expect("the task ends");
}

#[tokio::test(start_paused = true)]
async fn sessions_end_when_idle_or_too_old_and_not_while_in_use() {
    let all = Arc::new(sessions(10, 10));
    tokio::spawn({
        let all = Arc::clone(&all);
        async move { all.look_after(|_| true, |_| {}).await }
    });
    let idle = all.config().session_idle_timeout;
    let (used, used_id) = begin(&all, "ada").expect("room");
    let (open, open_id) = begin(&all, "ada").expect("room");
    used.used();
    open.used();
    let in_use = open.in_use();
    sleep(idle - POLL_INTERVAL * 2).await;
    assert!(all.find(&principal("ada"), &used_id).is_some());
    drop(used.in_use());
    sleep(idle - POLL_INTERVAL * 2).await;
    assert!(all.find(&principal("ada"), &used_id).is_some(), "just used");
    sleep(POLL_INTERVAL * 4).await;
    assert!(all.find(&principal("ada"), &used_id).is_none());
    assert!(all.find(&principal("ada"), &open_id).is_some());

    sleep(all.config().session_lifetime).await;
    assert!(all.find(&principal("ada"), &open_id).is_none());
    assert!(open.is_ended());
    drop(in_use);
}
