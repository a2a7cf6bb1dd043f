use std::net::SocketAddr;

use http::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use http::{HeaderName, Uri};
use url::Url;

use super::{HostPolicy, HostPolicyError, Refused};

fn policy(listen: &str, public_url: &str, hosts: &[&str], origins: &[&str]) -> HostPolicy {
    let public_url = (!public_url.is_empty()).then(|| Url::parse(public_url).unwrap());
    let listen: SocketAddr = listen.parse().unwrap();
    HostPolicy::new(listen, public_url.as_ref(), &owned(hosts), &owned(origins)).unwrap()
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[track_caller]
fn assert_hosts(policy: &HostPolicy, allowed: &[&str], refused: &[&str]) {
    for host in allowed {
        assert!(policy.check_host(Some(host)), "{host} is answered");
    }
    for host in refused {
        assert!(!policy.check_host(Some(host)), "{host} is refused");
    }
    assert!(!policy.check_host(None));
}

#[track_caller]
fn assert_origins(policy: &HostPolicy, allowed: &[&str], refused: &[&str]) {
    for origin in allowed {
        let value = HeaderValue::from_str(origin).unwrap();
        assert!(policy.check_origin(Some(&value)), "{origin} may call");
    }
    for origin in refused {
        let value = HeaderValue::from_bytes(origin.as_bytes()).unwrap();
        assert!(!policy.check_origin(Some(&value)), "{origin} may not call");
    }
    assert!(policy.check_origin(None));
}

#[test]
fn on_loopback_loopback_names_are_answered_with_the_right_port_or_none() {
    for listen in ["127.0.0.1:8080", "[::1]:8080", "[::ffff:127.0.0.1]:8080"] {
        assert_hosts(
            &policy(listen, "", &[], &[]),
            &[
                "localhost",
                "localhost:8080",
                "LocalHost:8080",
                "127.0.0.1",
                "127.0.0.1:8080",
                "[::1]",
                "[::1]:8080",
                "[0:0:0:0:0:0:0:1]:8080",
            ],
            &[
                "",
                "evil.example",
                "evil.example:8080",
                "localhost:8081",
                "localhost:",
                "localhost:+8080",
                "localhost:8080:8080",
                "localhost:88080",
                "localhost.",
                "localhost.evil.example",
                "evil.localhost",
                "user@localhost",
                "localhost/",
                "localhost ",
                "127.0.0.2",
                "127.1",
                "0x7f000001",
                "2130706433",
                "0127.0.0.1",
                "0.0.0.0:8080",
                "::1",
                "[::1",
                "[::1]8080",
                "[::ffff:127.0.0.1]:8080",
                "10.0.0.1:8080",
                "ⓛocalhost",
            ],
        );
    }
}

#[test]
fn an_address_of_its_own_is_answered() {
    assert_hosts(
        &policy("127.0.0.2:80", "", &[], &[]),
        &["127.0.0.2", "127.0.0.2:80", "localhost"],
        &["127.0.0.3"],
    );
    assert_hosts(
        &policy("10.0.0.5:8080", "", &[], &[]),
        &["10.0.0.5", "10.0.0.5:8080"],
        &[
            "10.0.0.5:80",
            "10.0.0.6:8080",
            "localhost:8080",
            "127.0.0.1:8080",
        ],
    );
}

#[test]
fn on_an_unspecified_address_only_names_can_be_rebound() {
    for listen in ["0.0.0.0:8080", "[::]:8080"] {
        assert_hosts(
            &policy(listen, "", &[], &[]),
            &[
                "10.0.0.5:8080",
                "[fd00::5]:8080",
                "127.0.0.1:8080",
                "localhost:8080",
            ],
            &[
                "10.0.0.5:9090",
                "evil.example:8080",
                "0.0.0.0:8080",
                "[::]:8080",
            ],
        );
    }
}

#[test]
fn listed_hosts_are_answered() {
    let policy = policy(
        "10.0.0.5:8080",
        "https://mcp.example.com/base",
        &[
            "Any.Example",
            "one.example:9000",
            "tls.example:443",
            "bücher.example",
            "[fd00::1]:7",
        ],
        &[],
    );
    assert_hosts(
        &policy,
        &[
            "mcp.example.com",
            "mcp.example.com:8443",
            "any.example",
            "any.example:1",
            "ONE.example:9000",
            "tls.example",
            "tls.example:443",
            "xn--bcher-kva.example",
            "[fd00::1]:7",
        ],
        &[
            "example.com",
            "a.any.example",
            "any.example.",
            "one.example",
            "one.example:9001",
            "tls.example:80",
            "[fd00::1]",
            "mcp.example.com.evil.example",
            "bücher.example",
        ],
    );
}

#[test]
fn own_public_and_listed_origins_may_call() {
    let policy = policy(
        "127.0.0.1:8080",
        "https://mcp.example.com/base",
        &[],
        &[
            "https://app.example.com",
            "https://xn--bcher-kva.example",
            "http://[fd00::1]:3000",
        ],
    );
    assert_origins(
        &policy,
        &[
            "http://localhost:8080",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "https://mcp.example.com",
            "https://app.example.com",
            "https://xn--bcher-kva.example",
            "http://[fd00::1]:3000",
        ],
        &[
            "",
            "null",
            "http://localhost",
            "http://localhost:8081",
            "https://localhost:8080",
            "http://localhost:8080/",
            "http://localhost.:8080",
            "http://user@localhost:8080",
            "http://127.0.0.2:8080",
            "https://app.example.com.",
            "https://app.example.com:443",
            "https://app.example.com:8443",
            "https://user:word@app.example.com",
            "https://app.example.com.evil.example",
            "https://evil.example",
            "http://app.example.com",
            "https://app.example.com https://evil.example",
            "https://app.example.com, https://app.example.com",
            "https://аpp.example.com",
            "https://xn--pp-6kc.example.com",
            "https://bücher.example",
        ],
    );
}

#[test]
fn the_default_port_is_left_out_of_an_origin() {
    assert_origins(
        &policy("127.0.0.1:80", "", &[], &[]),
        &["http://localhost", "http://127.0.0.1"],
        &["http://localhost:80"],
    );
}

#[test]
fn an_unspecified_address_is_no_origin() {
    assert_origins(
        &policy("0.0.0.0:8080", "", &[], &[]),
        &["http://localhost:8080"],
        &["http://0.0.0.0:8080", "http://10.0.0.5:8080"],
    );
    assert_origins(
        &policy("10.0.0.5:8080", "", &[], &[]),
        &["http://10.0.0.5:8080"],
        &["http://localhost:8080"],
    );
}

fn check(uri: &str, headers: &[(HeaderName, &str)]) -> Result<(), Refused> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let uri: Uri = uri.parse().unwrap();
    policy("127.0.0.1:8080", "", &[], &["https://app.example"]).check(&uri, &map)
}

#[test]
fn a_request_is_checked_as_a_whole() {
    // The one as it has to be read, the other as nearly everybody writes it.
    for own in ["localhost:8080", "127.0.0.1:8080"] {
        check_whole(own);
    }
}

#[track_caller]
fn check_whole(own: &str) {
    let evil = "evil.example";
    let app = "https://app.example";
    assert_eq!(check("/mcp", &[(HOST, own)]), Ok(()));
    assert_eq!(check("/mcp", &[(HOST, own), (ORIGIN, app)]), Ok(()));
    assert_eq!(check("http://localhost:8080/mcp", &[]), Ok(()));
    assert_eq!(check("http://localhost:8080/mcp", &[(HOST, own)]), Ok(()));

    assert_eq!(check("/mcp", &[]), Err(Refused::Host));
    assert_eq!(check("/mcp", &[(HOST, evil)]), Err(Refused::Host));
    assert_eq!(check("/mcp", &[(HOST, "é")]), Err(Refused::Host));
    assert_eq!(
        check("/mcp", &[(HOST, own), (HOST, own)]),
        Err(Refused::Host)
    );
    assert_eq!(
        check("http://localhost:8080/", &[(HOST, evil)]),
        Err(Refused::Host)
    );
    assert_eq!(
        check("http://evil.example/", &[(HOST, own)]),
        Err(Refused::Host)
    );
    assert_eq!(
        check("http://user@localhost:8080/", &[]),
        Err(Refused::Host)
    );

    let twice = [(HOST, own), (ORIGIN, app), (ORIGIN, app)];
    assert_eq!(check("/mcp", &twice), Err(Refused::Origin));
    assert_eq!(
        check("/mcp", &[(HOST, own), (ORIGIN, "null")]),
        Err(Refused::Origin)
    );
}

#[test]
fn what_is_no_host_or_origin_is_an_error() {
    let new = |public: Option<&str>, hosts: &[&str], origins: &[&str]| {
        let public = public.map(|text| Url::parse(text).unwrap());
        let listen = "127.0.0.1:1".parse().unwrap();
        HostPolicy::new(listen, public.as_ref(), &owned(hosts), &owned(origins)).map(drop)
    };
    let no_hosts = [
        "", "a b", "a/b", "user@a", "a:", "a:x", "a:99999", "*.a", "a.", "[::1", "[a]",
    ];
    for host in no_hosts {
        assert_eq!(
            new(None, &[host], &[]),
            Err(HostPolicyError::Host(host.to_owned()))
        );
    }
    let no_origins = [
        "",
        "null",
        "app.example",
        "https://a/",
        "https://a:443",
        "https://u@a",
        "data:x",
    ];
    for origin in no_origins {
        assert_eq!(
            new(None, &[], &[origin]),
            Err(HostPolicyError::Origin(origin.to_owned()))
        );
    }
    assert!(matches!(
        new(Some("data:text"), &[], &[]),
        Err(HostPolicyError::PublicUrl(_))
    ));
}
