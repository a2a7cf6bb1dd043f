//! Authorization: who may see and use what, by the rules of the section `access`.
//!
//! A rule concerns a principal or it does not, which is worked out once (`Standings`); of a target
//! it is asked once for all that see the same (`Known`), unless that is forgotten. What a rule says without the arguments of a call decides what is
//! shown as well as what may be called, so what can be seen can be called. Conditions on arguments
//! leave a target visible that could be allowed for some, and decide when it is called.

mod arguments;
mod condition;
mod config;
mod decide;
mod explain;
mod known;
mod pattern;
mod rule;
mod standing;
#[cfg(test)]
mod tests;

pub use self::config::{
    AccessConfig, AccessMode, AccessProblem, Effect, MAX_RULES, RuleConfig, RulePattern,
};
pub use self::decide::{Access, Ruling};
pub use self::explain::{ExplainedRule, Explanation, Said};
pub(crate) use self::standing::Standings;
