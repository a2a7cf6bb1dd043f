//! One virtual server out of many: the catalogue of what all backends offer, the names that clients
//! see, where a call goes, what takes the place of a tool that cannot answer (`chains`), and who is
//! told of changes.

mod backends;
mod cached;
pub mod catalogue;
pub mod chains;
mod clock;
pub mod config;
mod continuation;
mod delivery;
mod dispatch;
mod home;
pub mod hub;
mod kept;
pub mod names;
mod observe;
mod orchestrator;
pub mod profiles;
mod reload;
mod replicas;
mod resolve;
mod results;
mod settle;
mod spent;
pub mod start_order;
mod task_news;
mod tasks;
mod tool_calls;

pub use cached::{CacheParts, uncacheable_marks};
pub use clock::{now_ms, rfc3339};
pub use kept::listed::tool_name as kept_result_tool;
pub use orchestrator::{Orchestrator, Parts, TracedCall};
pub use reload::{BackendChanges, DesiredState, ShutDown};
pub use task_news::TaskNews;
