//! From the arguments of one tool to those of another that takes its place: renamed and set by
//! splicing, never re-typed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use switchboard_protocol::json::{Scanner, write_str};
use switchboard_protocol::splice::for_each_member;

use crate::config::chains::ArgumentRule;
use crate::profiles::StandInError;

/// What becomes of the arguments. By default they stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// From the caller's name of an argument to the other tool's.
    renames: BTreeMap<String, String>,
    /// Arguments of the other tool, with their JSON.
    constants: BTreeMap<String, String>,
    /// Arguments of the caller's that the other tool does not have.
    dropped: BTreeSet<String>,
}

/// Why arguments cannot be mapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MapError {
    #[error("`arguments` is no object")]
    NoObject,
    #[error("an argument would be there twice")]
    Twice,
    #[error("the call of the other tool would be no valid request")]
    NotARequest,
    #[error(transparent)]
    Profile(#[from] StandInError),
}

impl Mapping {
    /// Leaves arguments as they are.
    pub(crate) const IDENTITY: Self = Self {
        renames: BTreeMap::new(),
        constants: BTreeMap::new(),
        dropped: BTreeSet::new(),
    };

    pub(crate) fn new(rules: Option<&BTreeMap<String, ArgumentRule>>) -> Self {
        let mut mapping = Self::default();
        for (argument, rule) in rules.into_iter().flatten() {
            let argument = argument.clone();
            match rule {
                ArgumentRule::Rename(name) => {
                    mapping.renames.insert(argument, name.clone());
                }
                ArgumentRule::Constant(constant) => {
                    mapping
                        .constants
                        .insert(argument, constant.value.to_string());
                }
            }
        }
        mapping
    }

    /// From the other tool's arguments to the caller's. What was constant is no argument of the
    /// caller's.
    pub(crate) fn inverse(&self) -> Self {
        let backwards = |(from, to): (&String, &String)| (to.clone(), from.clone());
        Self {
            renames: self.renames.iter().map(backwards).collect(),
            constants: BTreeMap::new(),
            dropped: self.constants.keys().cloned().collect(),
        }
    }

    /// Whether the arguments stay as they are.
    pub(crate) fn is_identity(&self) -> bool {
        self.renames.is_empty() && self.constants.is_empty() && self.dropped.is_empty()
    }

    /// The other tool's name of an argument of the caller's; `None`: it does not get it.
    pub(crate) fn renamed<'n>(&'n self, argument: &'n str) -> Option<&'n str> {
        let name = self.renames.get(argument).map_or(argument, String::as_str);
        let kept = !self.constants.contains_key(name) && !self.dropped.contains(argument);
        kept.then_some(name)
    }

    /// The arguments that the other tool gets whatever the caller gave, with their JSON.
    pub(crate) fn constants(&self) -> impl Iterator<Item = (&str, &str)> {
        let constants = self.constants.iter();
        constants.map(|(name, json)| (name.as_str(), json.as_str()))
    }

    /// The arguments for the other tool.
    ///
    /// # Errors
    /// If they are no object, or one of them stands twice, before or after.
    pub(crate) fn apply<'a>(&self, arguments: &'a [u8]) -> Result<Cow<'a, [u8]>, MapError> {
        if self.is_identity() {
            return Ok(Cow::Borrowed(arguments));
        }
        if Scanner::over_utf8(arguments).peek() != Some(b'{') {
            return Err(MapError::NoObject);
        }
        let mut out = Vec::with_capacity(arguments.len() + 64);
        let mut given = HashSet::new();
        let mut seen = HashSet::new();
        let mut is_twice = false;
        for_each_member(arguments, |key, member, value| {
            is_twice |= !given.insert(key.to_owned());
            let Some(name) = self.renamed(key) else {
                return;
            };
            is_twice |= !seen.insert(name.to_owned());
            out.push(b',');
            if name == key {
                out.extend_from_slice(member);
            } else {
                write_str(&mut out, name);
                out.push(b':');
                out.extend_from_slice(value);
            }
        });
        if is_twice {
            return Err(MapError::Twice);
        }
        for (name, value) in &self.constants {
            out.push(b',');
            write_str(&mut out, name);
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
        // Every member came with a comma before it.
        match out.first_mut() {
            Some(first) => *first = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
        Ok(Cow::Owned(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn mapping(rules: serde_json::Value) -> Mapping {
        let rules = serde_json::from_value(rules).expect("rules");
        Mapping::new(Some(&rules))
    }

    fn mapped(mapping: &Mapping, arguments: &str) -> Result<String, MapError> {
        let mapped = mapping.apply(arguments.as_bytes())?;
        Ok(String::from_utf8(mapped.into_owned()).expect("text"))
    }

    #[test]
    fn arguments_are_renamed_and_set_and_otherwise_stay_as_written() {
        let mapping = mapping(json!({ "query": "q", "lang": { "const": "en" } }));
        for (given, expected) in [
            (
                r#"{ "query" : "a\u0062" , "n": 1.50 }"#,
                r#"{"q":"a\u0062","n": 1.50,"lang":"en"}"#,
            ),
            (r#"{"lang":"de","qu\u0065ry":1}"#, r#"{"q":1,"lang":"en"}"#),
            ("{}", r#"{"lang":"en"}"#),
        ] {
            assert_eq!(mapped(&mapping, given).as_deref(), Ok(expected));
        }
        let untouched = r#"[ "anything" ]"#;
        let same = Mapping::default();
        assert_eq!(mapped(&same, untouched).as_deref(), Ok(untouched));
    }

    #[test]
    fn what_two_peers_could_read_differently_is_refused() {
        let mapping = mapping(json!({ "query": "q" }));
        for (given, expected) in [
            (r#"{"query":1,"q":2}"#, MapError::Twice),
            (r#"{"n":1,"\u006e":2}"#, MapError::Twice),
            (r#"{"query":1,"query":2}"#, MapError::Twice),
            ("[]", MapError::NoObject),
            ("null", MapError::NoObject),
        ] {
            assert_eq!(mapped(&mapping, given), Err(expected), "{given}");
        }
    }

    #[test]
    fn a_constant_that_the_caller_gave_twice_is_refused_too() {
        let mapping = mapping(json!({ "lang": { "const": "en" } }));
        let given = r#"{"lang":1,"lang":2}"#;
        assert_eq!(mapped(&mapping, given), Err(MapError::Twice));
    }

    #[test]
    fn backwards_renames_are_undone_and_constants_left_out() {
        let there = mapping(json!({ "query": "q", "lang": { "const": "en" } }));
        let back = there.inverse();
        let given = r#"{"q":1,"lang":"en","n":2}"#;
        assert_eq!(mapped(&back, given).as_deref(), Ok(r#"{"query":1,"n":2}"#));
    }

    proptest! {
        #[test]
        fn a_mapped_object_is_what_serde_would_make(
            given in proptest::collection::btree_map("[a-d]", any::<i32>(), 0..5),
            to in "[e-g]",
            constant in any::<bool>(),
        ) {
            let mapping = mapping(json!({ "a": to, "b": { "const": constant } }));
            let raw = serde_json::to_vec(&given).expect("serializes");
            let out = mapping.apply(&raw).expect("maps");
            let mut expected = serde_json::Map::new();
            for (key, value) in &given {
                match &**key {
                    "a" => expected.insert(to.clone(), json!(value)),
                    "b" => None,
                    key => expected.insert(key.to_owned(), json!(value)),
                };
            }
            expected.insert("b".to_owned(), json!(constant));
            let got: serde_json::Value = serde_json::from_slice(&out).expect("valid");
            prop_assert_eq!(got, serde_json::Value::Object(expected));
        }
    }
}
