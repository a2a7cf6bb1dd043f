//! The forms of text that the schema names by `format`. What each means is decided by the crate
//! that owns the field; here are only the words for it.

use std::net::SocketAddr;

use switchboard_backends::config as backends;
use switchboard_backends::config::{bytes, duration, parked};
use switchboard_gateway::config as gateway;
use switchboard_orchestrator::config as orchestrator;
use switchboard_orchestrator::config::profiles;
use switchboard_policy::config as policy;
use switchboard_policy::facade::{self as policy_facade, config as facade};
use switchboard_policy::limits::config as limits;
use switchboard_policy::redaction::{self, config as redactions};
use switchboard_protocol::byte_size;
use switchboard_telemetry::check_filter;

/// A form of text.
pub(super) struct Format {
    name: &'static str,
    /// What to write instead of something else.
    pub(super) expected: &'static str,
    /// Says what is wrong with a text.
    pub(super) check: fn(&str) -> Result<(), String>,
}

/// The format of this name.
pub(super) fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// Checks a number where a duration may be one.
pub(super) fn check_seconds(format: &str, seconds: f64) -> Result<(), String> {
    match format {
        "duration" => duration::from_secs(seconds).map(drop),
        "duration-to-an-hour" => duration::from_secs(seconds).and_then(parked::check_timeout),
        "positive-duration" => duration::from_secs(seconds).and_then(duration::check_positive),
        "access-lifetime" => duration::from_secs(seconds).and_then(facade::check_access_lifetime),
        "session-lifetime" => duration::from_secs(seconds).and_then(facade::check_session_lifetime),
        _ => Ok(()),
    }
}

impl Format {
    /// What was probably meant by a text that is wrong.
    pub(super) fn meant(&self, text: &str) -> Option<String> {
        let meant = match self.name {
            "byte-size" | "entry-size" | "message-size" | "size" | "size-or-none" => {
                byte_size::meant(text)?
            }
            _ => return None,
        };
        (self.check)(&meant).is_ok().then_some(meant)
    }
}

const FORMATS: &[Format] = &[
    Format {
        name: "access-lifetime",
        expected: "a duration such as `10m`, or a number of seconds, from 10 s to an hour",
        check: |text| duration::parse(text).and_then(facade::check_access_lifetime),
    },
    Format {
        name: "backend-name",
        expected: "1 to 64 of the characters `A-Z a-z 0-9 _ -`",
        check: gateway::check_backend_name,
    },
    Format {
        name: "byte-size",
        expected: "a size such as `512KiB` or `10MiB`, or a number of bytes, at least 1",
        check: |text| limits::parse_size(text).map(drop),
    },
    Format {
        name: "cluster-address",
        expected: "the address of this replica for the others, such as `https://10.0.0.7:8082`",
        check: |text| gateway::parse_cluster_address(text).map(drop),
    },
    Format {
        name: "cores-or-none",
        expected: "a number of cores such as `1.5`, or `none`",
        check: backends::limits::check_none,
    },
    Format {
        name: "count-or-none",
        expected: "a whole number of at least 1, or `none`",
        check: backends::limits::check_none,
    },
    Format {
        name: "date",
        expected: "a day such as `2027-01-31`",
        check: |text| {
            let day: Result<policy::Day, _> = text.parse();
            day.map(drop).map_err(|error| error.to_string())
        },
    },
    Format {
        name: "dns-name",
        expected: "a name in the DNS such as `_mcp._tcp.example.com`",
        check: backends::discovery::check_dns_name,
    },
    Format {
        name: "duration",
        expected: "a duration such as `30s` or `500ms`, or a number of seconds, at most a day",
        check: |text| duration::parse(text).map(drop),
    },
    Format {
        name: "duration-to-an-hour",
        expected: "a duration such as `30s` or `500ms`, or a number of seconds, from 1 ms to an hour",
        check: |text| duration::parse(text).and_then(parked::check_timeout),
    },
    Format {
        name: "entry-size",
        expected: "a size such as `512KiB` or `10MiB`, or a number of bytes, from 1 to 64MiB",
        check: |text| limits::parse_entry_size(text).map(drop),
    },
    Format {
        name: "header-name",
        expected: "the name of a header such as `Authorization`, none that the gateway sets itself",
        check: |text| backends::parse_header_name(text).map(drop),
    },
    Format {
        name: "header-value",
        expected: "visible characters, spaces and tabs",
        check: |text| backends::parse_header_value(text).map(drop),
    },
    Format {
        name: "host",
        expected: "a host as browsers send it, such as `mcp.example.com` or `10.0.0.7:8080`",
        check: gateway::check_host,
    },
    Format {
        name: "http-url",
        expected: "an `http` or `https` address such as `https://mcp.example.com/mcp`",
        check: |text| backends::parse_url(text).map(drop),
    },
    Format {
        name: "issuer",
        expected: "an `https` address such as `https://id.example.com`, or an `http` one on the loopback, \
                   without `?`, `#`, `|` and credentials",
        check: policy::check_issuer,
    },
    Format {
        name: "log-filter",
        expected: "a level (`error`, `warn`, `info`, `debug`, `trace`, `off`) or a filter such as \
                   `info,switchboard_backends=debug`",
        check: check_filter,
    },
    Format {
        name: "message-size",
        expected: "a size such as `512KiB` or `16MiB`, or a number of bytes, at least 4096",
        check: bytes::check_message_size,
    },
    Format {
        name: "name-and-port",
        expected: "a name in the DNS and a port, such as `mcp.example.com:8080`",
        check: |text| backends::discovery::parse_name_and_port(text).map(drop),
    },
    Format {
        name: "name-prefix",
        expected: "up to 64 of the characters `A-Z a-z 0-9 _ -`",
        check: backends::check_prefix,
    },
    Format {
        name: "name-separator",
        expected: "1 to 8 of the characters `A-Z a-z 0-9 _ -`",
        check: orchestrator::check_separator,
    },
    Format {
        name: "network",
        expected: "`none`, `all` or `{tcp_ports: [PORT…]}`",
        check: backends::sandbox::check_network,
    },
    Format {
        name: "open-files-or-none",
        expected: "a whole number of at least 16, or `none`",
        check: backends::limits::check_none,
    },
    Format {
        name: "origin",
        expected: "an origin as browsers send it, such as `https://app.example.com`: lower case, \
                   no path, no default port",
        check: gateway::check_origin,
    },
    Format {
        name: "path",
        expected: "a path of the server's, such as `/healthz`",
        check: backends::health::check_path,
    },
    Format {
        name: "positive-duration",
        expected: "a duration such as `30s` or `500ms`, or a number of seconds, from 1 ms to a day",
        check: |text| duration::parse(text).and_then(duration::check_positive),
    },
    Format {
        name: "private-redirect",
        expected: "an address with a program's own scheme, such as \
                   `cursor://anysphere.cursor-mcp/oauth/callback`",
        check: policy_facade::check_private_redirect,
    },
    Format {
        name: "profile-name",
        expected: "1 to 64 of the characters `A-Z a-z 0-9 _ -`",
        check: profiles::check_profile_name,
    },
    Format {
        name: "rate",
        expected: "calls in a time, such as `60/1m`",
        check: limits::check_rate,
    },
    Format {
        name: "redaction-name",
        expected: "1 to 64 of the characters `a-z 0-9 _`, neither `secret` nor the name of a type of tokens",
        check: redactions::check_pattern_name,
    },
    Format {
        name: "redaction-pattern",
        expected: "a regular expression that says how much it matches at most, such as `ACME-[0-9A-F]{8,32}`",
        check: redaction::check_pattern,
    },
    Format {
        name: "redis-url",
        expected: "the address of a Redis, such as `redis://127.0.0.1:6379/0` or `rediss://USER:PASSWORD@HOST`",
        check: limits::check_redis_url,
    },
    Format {
        name: "retention",
        expected: "a duration such as `30d`, from a minute to ten years",
        check: |text| gateway::audit::parse_keep(text).map(drop),
    },
    Format {
        name: "scope",
        expected: "1 to 255 visible characters of ASCII, none of them a space, `\"` or `\\`",
        check: policy::check_scope,
    },
    Format {
        name: "sealing-key",
        expected: "a secret of at least 32 bytes, such as `openssl rand -base64 32` prints",
        check: gateway::check_sealing_key,
    },
    Format {
        name: "session-lifetime",
        expected: "a duration such as `8h`, or a number of seconds, from 10 s to a day",
        check: |text| duration::parse(text).and_then(facade::check_session_lifetime),
    },
    Format {
        name: "sha256-hex",
        expected: "64 hexadecimal digits, as `printf %s \"$KEY\" | sha256sum | cut -d' ' -f1` prints them",
        check: |text| policy::parse_key_digest(text).map(drop),
    },
    Format {
        name: "size",
        expected: "a size such as `512MiB` or `2GiB`, or a number of bytes, at least 1 MiB",
        check: |text| gateway::audit::parse_file_size(text).map(drop),
    },
    Format {
        name: "size-or-none",
        expected: "a size such as `512MiB` or `2GiB`, or a number of bytes, at least 1 MiB, or `none`",
        check: |text| backends::limits::parse_size(text).map(drop),
    },
    Format {
        name: "socket-address",
        expected: "an IP address and a port, such as `127.0.0.1:8080`",
        check: |text| {
            text.parse::<SocketAddr>()
                .map(drop)
                .map_err(|_| "is not an address to listen on".to_owned())
        },
    },
    Format {
        name: "socket-address-or-off",
        expected: "an IP address and a port, such as `127.0.0.1:9464`, or `off`",
        check: |text| gateway::parse_ops_listen(text).map(drop),
    },
    Format {
        name: "store-timeout",
        expected: "a duration such as `100ms`, or a number of seconds, from 1 ms to 10 s",
        check: |text| limits::parse_timeout(text).map(drop),
    },
    Format {
        name: "token-type",
        expected: "a type of tokens as docs/redaction.md lists them, such as `github_token`",
        check: redactions::check_token_type,
    },
    Format {
        name: "variable-name",
        expected: "a name without `=`",
        check: backends::check_variable_name,
    },
    Format {
        name: "window",
        expected: "a duration such as `1h` or `1d`, or a number of seconds, from 1 s to 31 days",
        check: |text| limits::parse_window(text).map(drop),
    },
];
