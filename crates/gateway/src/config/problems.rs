//! What is wrong with a configuration whose parts are each right: they do not fit together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use switchboard_orchestrator::config::bounds::{Bound, Unit};
use switchboard_orchestrator::config::{ConfigProblem, path};
use switchboard_orchestrator::{kept_result_tool, start_order};
use switchboard_policy::cache::config::{CacheConfig, CacheStore};
use switchboard_policy::config::{is_confidential, shared_key};
use switchboard_policy::limits;

use super::{AdminListen, ClusterConfig, Config};
use crate::tls;

impl Config {
    /// Everything that does not fit together; empty if a gateway can start with this.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        self.open_to_everyone()
            .into_iter()
            .chain(self.admin_without_keys())
            .chain(self.shared_key())
            .chain(self.tokens_without_address())
            .chain(self.facade_in_the_open())
            .chain(self.certificates_without_authority())
            .chain(self.replicas_without_keys())
            .chain(self.equal_listeners())
            .chain(self.equal_prefixes())
            .chain(self.wrong_dependencies())
            .chain(self.wrong_chains())
            .chain(self.wrong_profiles())
            .chain(self.unknown_profiles())
            .chain(self.wrong_rules())
            .chain(self.wrong_limits())
            .chain(self.wrong_kept_results())
            .chain(self.wrong_result_caps())
            .chain(self.wrong_cache())
            .chain(self.wrong_audit())
            .collect()
    }

    fn open_to_everyone(&self) -> Option<ConfigProblem> {
        let listen = self.server.listen;
        if self.auth.is_some() || listen.ip().to_canonical().is_loopback() {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["server", "listen"]),
            other: Some(path(&["auth"])),
            message: format!(
                "without an `auth` section everyone who reaches {listen} could call every \
                 backend; expected a loopback address such as 127.0.0.1:{port}, or an `auth` \
                 section with `api_keys`, `jwt` or `mtls`",
                port = listen.port(),
            ),
        })
    }

    /// Tokens are for an address, which nobody can guess from one such as 0.0.0.0.
    fn tokens_without_address(&self) -> Option<ConfigProblem> {
        let auth = self.auth.as_ref()?;
        let is_local = self.server.listen.ip().to_canonical().is_loopback();
        if auth.jwt.is_empty() || self.server.public_url.is_some() || is_local {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["auth", "jwt"]),
            other: Some(path(&["server", "public_url"])),
            message: "a token is for the address that clients use, which is not known; expected \
                      `server.public_url`, such as https://mcp.example.com"
                .to_owned(),
        })
    }

    /// Codes, tokens and cookies of the facade are good for whoever reads them on their way.
    fn facade_in_the_open(&self) -> Option<ConfigProblem> {
        self.auth.as_ref()?.facade.as_ref()?;
        let url = self.server.public_url.as_ref()?;
        if is_confidential(url) {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["auth", "facade"]),
            other: Some(path(&["server", "public_url"])),
            message: format!(
                "people would log in at {url}, where anybody on the way reads and changes what they do; expected a `server.public_url` that begins with https"
            ),
        })
    }

    /// What a replica seals the others have to open.
    fn replicas_without_keys(&self) -> Option<ConfigProblem> {
        self.server.cluster.as_ref()?;
        if !self.server.sealing_keys.expose().is_empty() {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["server", "cluster"]),
            other: Some(path(&["server", "sealing_keys"])),
            message: "replicas have to open what others of them have sealed; expected \
                      `server.sealing_keys`, the same for all"
                .to_owned(),
        })
    }

    fn certificates_without_authority(&self) -> Option<ConfigProblem> {
        self.auth.as_ref()?.mtls.as_ref()?;
        let tls = self.server.tls.as_ref();
        if tls.is_some_and(|tls| tls.client_ca.is_some()) {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["auth", "mtls"]),
            other: Some(path(&["server", "tls"])),
            message: "nobody vouches for the certificates of clients; expected \
                      `server.tls.client_ca`, the file of the authorities that do"
                .to_owned(),
        })
    }

    /// What is wrong with the files of the listener's certificate, which are read for it.
    pub fn certificate_problem(&self) -> Option<ConfigProblem> {
        let (key, message) = tls::problem(self.server.tls.as_ref()?)?;
        Some(ConfigProblem {
            path: path(&["server", "tls", key]),
            other: Some(path(&["server", "tls"])),
            message,
        })
    }

    /// An address for an admin API that nobody could use.
    fn admin_without_keys(&self) -> Option<ConfigProblem> {
        let AdminListen::At(address) = self.server.admin_listen else {
            return None;
        };
        if self.admin.is_some() {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["server", "admin_listen"]),
            other: Some(path(&["admin"])),
            message: format!(
                "without keys nobody could use the admin API at {address}, so it is not opened; \
                 expected an `admin` section with `api_keys`, or no `admin_listen`"
            ),
        })
    }

    fn wrong_kept_results(&self) -> Vec<ConfigProblem> {
        let Some(kept_results) = self.kept_results() else {
            return Vec::new();
        };
        let own = kept_result_tool(&self.names);
        let renamed = self.profiles.iter().flat_map(|(profile, config)| {
            let tools = config.rename.iter();
            let taken = tools.filter(|(_, name)| **name == own);
            taken.map(move |(tool, _)| path(&["profiles", profile, "rename", tool]))
        });
        let taken = renamed.map(|path| ConfigProblem {
            path,
            other: None,
            message: format!("`{own}` is the gateway's own tool; expected another name"),
        });
        kept_results.problems().into_iter().chain(taken).collect()
    }

    /// A shared cache that nobody could share, or results of which none as large as may be is cached.
    fn wrong_cache(&self) -> Vec<ConfigProblem> {
        let problem = |key: &[&str], message: &str| ConfigProblem {
            path: path(&["cache", "store"]),
            other: Some(path(key)),
            message: message.to_owned(),
        };
        let mut problems = Vec::new();
        if self.cache.store == CacheStore::Redis {
            if self.store.redis.is_none() {
                let message = "there is no Redis to cache results in; expected its address in `store.redis`, or `memory`";
                problems.push(problem(&["store", "redis"], message));
            }
            if self.server.sealing_keys.expose().is_empty() {
                let message = "results are sealed in a Redis, with a key that all replicas know; expected `server.sealing_keys`, or `memory`";
                problems.push(problem(&["server", "sealing_keys"], message));
            }
            // It has a bound of its own.
            return problems;
        }
        let default = CacheConfig::default();
        let bound = |key, value, default| Bound {
            key,
            value,
            default,
            unit: Unit::Bytes,
        };
        let total = bound(
            &["cache", "max_total"],
            self.cache.max_total,
            default.max_total,
        );
        let entry = bound(
            &["cache", "max_entry"],
            self.cache.max_entry,
            default.max_entry,
        );
        problems.extend(entry.within(&total));
        problems
    }

    /// Operators and clients are told apart by their keys alone.
    fn shared_key(&self) -> Option<ConfigProblem> {
        let (client, operator) = shared_key(self.auth.as_ref()?, self.admin.as_ref()?)?;
        Some(ConfigProblem {
            path: path(&["admin", "api_keys"]),
            other: Some(path(&["auth", "api_keys"])),
            message: format!(
                "the key `{operator}` and the key `{client}` of `auth.api_keys` have the same digest; \
                 expected a key of its own for each"
            ),
        })
    }

    fn wrong_audit(&self) -> Option<ConfigProblem> {
        let (key, message) = self.audit.as_ref()?.problem()?;
        let keys = ["audit", key].into_iter().filter(|key| !key.is_empty());
        Some(ConfigProblem {
            path: path(&keys.collect::<Vec<_>>()),
            other: None,
            message,
        })
    }

    /// Two listeners cannot have one port of one address; port 0 is another one each time.
    fn equal_listeners(&self) -> Vec<ConfigProblem> {
        let listeners = [
            ("listen", Some(self.server.listen)),
            ("ops_listen", self.server.ops_listen),
            ("admin_listen", self.admin_address()),
            (
                "cluster.listen",
                self.server.cluster.as_ref().map(ClusterConfig::address),
            ),
        ];
        let mut problems = Vec::new();
        for (at, (key, address)) in listeners.iter().enumerate() {
            let Some(address) = address else { continue };
            let before = listeners[..at].iter();
            let mut taken = before.filter(|(_, other)| {
                other.is_some_and(|other| {
                    let ips = [address.ip(), other.ip()];
                    let overlap = ips[0] == ips[1] || ips.iter().any(IpAddr::is_unspecified);
                    address.port() != 0 && address.port() == other.port() && overlap
                })
            });
            if let Some((other, _)) = taken.next() {
                let at = |key: &str| {
                    let keys = ["server"].into_iter().chain(key.split('.'));
                    keys.map(str::to_owned).collect::<Vec<_>>()
                };
                problems.push(ConfigProblem {
                    path: at(key),
                    other: Some(at(other)),
                    message: format!(
                        "{address} is taken by `server.{other}`; expected another port, or `off`"
                    ),
                });
            }
        }
        problems
    }

    fn equal_prefixes(&self) -> Vec<ConfigProblem> {
        let mut backends: BTreeMap<&str, &str> = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, backend) in &self.backends {
            let prefix = backend.prefix.as_deref().unwrap_or(name);
            if prefix.is_empty() {
                continue;
            }
            if let Some(other) = backends.insert(prefix, name) {
                problems.push(ConfigProblem {
                    path: path(&["backends", name, "prefix"]),
                    other: Some(path(&["backends", other, "prefix"])),
                    message: format!(
                        "`{prefix}` is the prefix of `{other}` too, so their names could not be \
                         told apart; expected a prefix that no other backend has"
                    ),
                });
            }
        }
        problems
    }

    fn wrong_dependencies(&self) -> Vec<ConfigProblem> {
        let backends = self.backends.iter();
        let dependencies = backends
            .map(|(name, backend)| (&**name, &*backend.depends_on))
            .collect();
        start_order::problems(&dependencies)
    }

    fn wrong_limits(&self) -> Vec<ConfigProblem> {
        let wrong = limits::config::problems(&self.limits, &self.budgets).into_iter();
        let problem = |(path, message): (Vec<String>, String)| ConfigProblem {
            // Of an entry that is not valid in itself nothing more is said.
            other: Some(path[..path.len().saturating_sub(1)].to_vec()),
            path,
            message,
        };
        wrong.map(problem).collect()
    }
}
