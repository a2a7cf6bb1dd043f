//! Who may do what, and where a request may come from.
//!
//! [`origin`] keeps web pages of strangers out, [`authenticate`] turns a credential into a
//! principal, [`access`] says who may do what, [`limits`] how often and how many, counted in a [`store`],
//! [`result_caps`] how large results may be, [`redaction`] takes secrets out of them, [`cache`] keeps them,
//! [`gatekeeper`] puts it together; [`config`] is what an operator writes about it.

pub mod access;
pub mod authenticate;
pub mod cache;
pub mod config;
pub mod facade;
pub mod gatekeeper;
pub mod limits;
pub mod origin;
pub mod redaction;
pub mod result_caps;
pub mod store;
