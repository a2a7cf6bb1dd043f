//! Replicas: what one of them alone has, the others pass on to it ([decision 20]).
//!
//! Tokens say who has what (`Orchestrator::replica_of`, `legacy::Edge::replica_of`). A [`Relay`] passes
//! requests on, within the bounds of [`Cluster`]; [`Door`] takes them in, and has nothing to pass on
//! with. Both ends prove that they know the cluster's secret (`identity`); of the client they say
//! only what it cannot say again (`origin`).
//!
//! [decision 20]: ../../../docs/decisions/0020-replicas.md

mod client;
pub(crate) mod config;
mod door;
mod identity;
mod origin;
mod places;
mod relay;
mod unconnected;

pub(crate) use self::client::{CONNECT_WITHIN, Cluster, MAX_CONNECTING};
pub use self::config::{ClusterConfig, parse_cluster_address};
pub(crate) use self::door::Door;
pub(crate) use self::identity::Identity;
pub use self::identity::IdentityError;
pub(crate) use self::places::MAX_TO_ONE;
pub(crate) use self::relay::{InSession, Relay, Unanswered};
