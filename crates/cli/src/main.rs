mod config;
mod examples;

fn main() {}
