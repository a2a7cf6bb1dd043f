//! What a local server may reach: the `sandbox` of a backend.

use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// What a local server and all that it starts may reach. What is not named is refused, but for the
/// program itself and what every program needs: the system's programs and libraries, name service and
/// certificates. Without this section it may reach whatever the gateway's user may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxConfig {
    /// Files and folders that it may read and execute; relative ones from the folder of the
    /// configuration file. Those that are not there are left out.
    #[schemars(with = "Vec<String>")]
    pub read: Vec<PathBuf>,
    /// Files and folders that it may read, execute and change.
    #[schemars(with = "Vec<String>")]
    pub write: Vec<PathBuf>,
    /// Whom it may connect to: nobody, `all`, or with `{tcp_ports: [443]}` whoever listens at these
    /// ports, by TCP alone. Names are looked up over TCP then, at port 53 if that is among them.
    #[schemars(schema_with = "network_schema", extend("default" = "none"))]
    pub network: NetworkConfig,
    /// Where it puts temporary files.
    pub tmp: Tmp,
    /// Runtimes whose caches and installations it may use, below its `HOME` and beside its program.
    pub presets: Vec<Preset>,
    /// Whether the server is not started where the machine cannot hold all of this. By default it is
    /// started, and the log and `switchboard check` warn.
    pub require: bool,
}

/// Whom a local server may connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkConfig {
    /// Nobody, not even services of the same machine.
    #[default]
    None,
    /// Whoever listens at one of these ports.
    TcpPorts(Vec<u16>),
    /// Everybody.
    All,
}

/// Where a local server puts temporary files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tmp {
    /// In a folder of its own, which `TMPDIR` names and which goes with it.
    #[default]
    Private,
    /// Where everybody does.
    Shared,
}

/// A runtime whose servers need more than their program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Node, npm and npx.
    Node,
    /// Python, pip and uv.
    Python,
}

impl Preset {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
        }
    }
}

/// Checks the text form of a network.
///
/// # Errors
///
/// Says that it is none.
pub fn check_network(text: &str) -> Result<(), String> {
    match text {
        "none" | "all" => Ok(()),
        _ => Err("is neither `none` nor `all`".to_owned()),
    }
}

impl<'de> Deserialize<'de> for NetworkConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Ports {
            tcp_ports: Vec<u16>,
        }

        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "is neither `none` nor `all` nor `{tcp_ports: [PORT…]}`"
        )]
        enum Written {
            Word(String),
            Ports(Ports),
        }

        match Written::deserialize(deserializer)? {
            Written::Word(word) => match &*word {
                "none" => Ok(Self::None),
                "all" => Ok(Self::All),
                _ => Err(de::Error::custom("is neither `none` nor `all`")),
            },
            Written::Ports(Ports { tcp_ports }) if tcp_ports.contains(&0) => {
                Err(de::Error::custom("has a port 0"))
            }
            Written::Ports(Ports { tcp_ports }) => Ok(Self::TcpPorts(tcp_ports)),
        }
    }
}

fn network_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "object"],
        "format": "network",
        "properties": {
            "tcp_ports": {
                "type": "array",
                "description": "The only ports that it may connect to, on any host.",
                "items": { "type": "integer", "minimum": 1, "maximum": 65535 },
            },
        },
        "required": ["tcp_ports"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SandboxConfig, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_sandbox_without_a_word_lets_nothing_out() {
        let sandbox = read("{}").expect("valid");
        assert_eq!(sandbox, SandboxConfig::default());
        assert_eq!(sandbox.network, NetworkConfig::None);
        assert_eq!(sandbox.tmp, Tmp::Private);
    }

    #[test]
    fn the_network_is_a_word_or_ports() {
        let network = |text: &str| read(&format!(r#"{{"network":{text}}}"#));
        for (text, expected) in [
            (r#""none""#, NetworkConfig::None),
            (r#""all""#, NetworkConfig::All),
            (r#"{"tcp_ports":[443]}"#, NetworkConfig::TcpPorts(vec![443])),
            (r#"{"tcp_ports":[]}"#, NetworkConfig::TcpPorts(vec![])),
        ] {
            assert_eq!(network(text).expect(text).network, expected);
        }
        for wrong in [
            r#""some""#,
            "443",
            "{}",
            r#"{"tcp_ports":[0]}"#,
            r#"{"tcp_ports":[65536]}"#,
            r#"{"udp_ports":[1]}"#,
        ] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }
}
