//! Local servers that leave processes behind, do not end, or end all the time: whatever they do,
//! nothing of theirs outlives them, and nothing of any outlives the gateway.

mod attention;
mod endings;
mod evils;
mod lifetimes;
mod load;
mod many;
mod owners;
mod tree;
