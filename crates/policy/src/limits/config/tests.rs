use super::*;

#[test]
fn rates_are_calls_in_a_time() {
    for (text, calls, period) in [
        ("60/1m", 60, Duration::from_secs(60)),
        ("60/m", 60, Duration::from_secs(60)),
        ("1 / 500ms", 1, Duration::from_millis(500)),
        ("5/1h 30m", 5, Duration::from_secs(5400)),
    ] {
        assert_eq!(text.parse::<Rate>(), Ok(Rate { calls, period }), "{text}");
    }
    for wrong in [
        "", "60", "0/1m", "/1m", "60/", "-1/1m", "60/0s", "60/1y", "2000/1ms", "1/1us",
    ] {
        assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
    }
}

#[test]
fn sizes_and_times_are_bounded() {
    assert_eq!(parse_size("10MiB"), Ok(10 << 20));
    assert_eq!(parse_size("1.5 kB"), Ok(1500));
    assert_eq!(parse_size("7B"), Ok(7));
    for wrong in ["", "10", "0B", "-1B", "nanB", "infB", "1e30B"] {
        assert!(parse_size(wrong).is_err(), "{wrong}");
    }
    assert_eq!(parse_entry_size("64MiB"), Ok(64 << 20));
    assert_eq!(
        parse_entry_size("65MiB"),
        Err("is more than 64MiB".to_owned())
    );
    assert_eq!(parse_window("1d"), Ok(Duration::from_secs(86_400)));
    assert!(parse_window("999ms").is_err() && parse_window("32d").is_err());
    assert!(parse_timeout("100ms").is_ok() && parse_timeout("11s").is_err());
}

#[test]
fn an_address_is_checked_and_never_shown() {
    let store: StoreConfig =
        serde_json::from_str(r#"{"redis":"redis://me:secret@host:1/2"}"#).unwrap();
    assert!(!format!("{store:?}").contains("secret"));
    for wrong in ["", "host:1", "http://host", "redis://host/x"] {
        assert!(check_redis_url(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_empty_list_is_a_problem() {
    let limits: Vec<LimitConfig> =
        serde_json::from_str(r#"[{"name":"a","concurrency":1,"tools":[]}]"#).unwrap();
    let budgets: Vec<BudgetConfig> = serde_json::from_str(
        r#"[{"name":"a","window":"1d","calls":1,"users":[],"groups":["x"],"profiles":[]}]"#,
    )
    .unwrap();
    let keys: Vec<String> = problems(&limits, &budgets)
        .into_iter()
        .map(|(path, _)| path.join("."))
        .collect();
    assert_eq!(
        keys,
        [
            "limits.[0].tools",
            "budgets.[0].users",
            "budgets.[0].profiles"
        ]
    );
}

#[test]
fn what_limits_nothing_is_a_problem() {
    let limits: Vec<LimitConfig> =
        serde_json::from_str(r#"[{"name":"a"},{"name":"a","concurrency":1,"burst":2}]"#).unwrap();
    let budgets: Vec<BudgetConfig> =
        serde_json::from_str(r#"[{"name":"a","window":"1d"}]"#).unwrap();
    let keys: Vec<String> = problems(&limits, &budgets)
        .into_iter()
        .map(|(path, _)| path.join("."))
        .collect();
    assert_eq!(
        keys,
        [
            "limits.[0].rate",
            "limits.[1].name",
            "limits.[1].burst",
            "budgets.[0].calls"
        ]
    );
}
