//! Local servers that leave processes behind, do not end, or end all the time: whatever they do,
//! nothing of theirs outlives them, and nothing of any outlives the gateway.

mod acting;
mod attention;
mod check;
mod endings;
mod evils;
mod lifetimes;
mod limits;
mod load;
mod many;
mod owners;
mod sandbox;
mod tree;
