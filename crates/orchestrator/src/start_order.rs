//! In which order backends are started: those that another depends on before it.

use std::collections::BTreeMap;

use switchboard_backends::config::BackendConfig;

/// The configurations of backends, each behind those of the backends that it depends on.
pub(crate) fn ordered(
    mut configs: BTreeMap<String, BackendConfig>,
) -> Vec<(String, BackendConfig)> {
    let dependencies = configs
        .iter()
        .map(|(name, config)| (&**name, &*config.depends_on))
        .collect();
    // A cycle is refused with the configuration.
    let order = order(&dependencies);
    let order = order.unwrap_or_else(|_| configs.keys().cloned().collect());
    let entries = order
        .into_iter()
        .filter_map(|name| configs.remove_entry(&name));
    entries.collect()
}

/// What is wrong with the dependencies of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The backend.
    pub backend: String,
    /// What is wrong and what is expected.
    pub message: String,
}

/// Every name that is none, and every cycle. `dependencies` are those of each backend, by name.
#[must_use]
pub fn mistakes(dependencies: &BTreeMap<&str, &[String]>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (backend, named) in dependencies {
        let unknown = named
            .iter()
            .filter(|name| !dependencies.contains_key(&***name));
        mistakes.extend(unknown.map(|name| {
            let near = crate::config::nearest(name, dependencies.keys().copied());
            let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            Mistake {
                backend: (*backend).to_owned(),
                message: format!("names `{name}`, which is no backend{near}"),
            }
        }));
    }
    if let Err(cycle) = order(dependencies) {
        let shown: Vec<String> = cycle.iter().map(|name| format!("`{name}`")).collect();
        mistakes.push(Mistake {
            backend: cycle.first().cloned().unwrap_or_default(),
            message: format!(
                "is a circle: {}; expected one that ends, or none of them could be started first",
                shown.join(" → ")
            ),
        });
    }
    mistakes
}

/// All backends, each behind those that it depends on. Names that are none are passed over.
///
/// # Errors
/// A cycle, from one backend back to itself.
pub(crate) fn order(dependencies: &BTreeMap<&str, &[String]>) -> Result<Vec<String>, Vec<String>> {
    let mut visit = Visit {
        dependencies,
        ordered: Vec::new(),
        open: Vec::new(),
    };
    for name in dependencies.keys() {
        visit.backend(name)?;
    }
    Ok(visit.ordered)
}

/// A walk through the dependencies, depth first.
struct Visit<'d> {
    dependencies: &'d BTreeMap<&'d str, &'d [String]>,
    ordered: Vec<String>,
    /// The way to where the walk is.
    open: Vec<String>,
}

impl Visit<'_> {
    fn backend(&mut self, name: &str) -> Result<(), Vec<String>> {
        if self.ordered.iter().any(|done| done == name) {
            return Ok(());
        }
        if let Some(at) = self.open.iter().position(|open| open == name) {
            let mut cycle = self.open.split_off(at);
            cycle.push(name.to_owned());
            return Err(cycle);
        }
        let Some(named) = self.dependencies.get(name) else {
            return Ok(());
        };
        self.open.push(name.to_owned());
        for dependency in *named {
            self.backend(dependency)?;
        }
        self.open.pop();
        self.ordered.push(name.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(of: &[(&str, &[&str])]) -> (Vec<String>, Vec<String>) {
        let owned: Vec<(&str, Vec<String>)> = of
            .iter()
            .map(|(name, on)| (*name, on.iter().map(|on| (*on).to_owned()).collect()))
            .collect();
        let map: BTreeMap<&str, &[String]> =
            owned.iter().map(|(name, on)| (*name, &**on)).collect();
        let mistakes = mistakes(&map).into_iter();
        let mistakes = mistakes.map(|mistake| format!("{}: {}", mistake.backend, mistake.message));
        (order(&map).unwrap_or_default(), mistakes.collect())
    }

    #[test]
    fn what_is_depended_on_comes_first() {
        let (order, mistakes) = said(&[
            ("api", &["db", "auth"]),
            ("auth", &["db"]),
            ("db", &[]),
            ("other", &[]),
        ]);
        assert_eq!(order, ["db", "auth", "api", "other"]);
        assert_eq!(mistakes, Vec::<String>::new());
    }

    #[test]
    fn a_cycle_is_printed_from_a_backend_back_to_itself() {
        let (_, mistakes) = said(&[("a", &["b"]), ("b", &["c"]), ("c", &["d", "b"]), ("d", &[])]);
        assert_eq!(
            mistakes,
            [
                "b: is a circle: `b` → `c` → `b`; expected one that ends, or none of them could be started first"
            ]
        );
        let (_, mistakes) = said(&[("a", &["a"])]);
        assert!(mistakes[0].starts_with("a: is a circle: `a` → `a`;"));
    }

    #[test]
    fn a_name_that_is_none_comes_with_the_nearest() {
        let (order, mistakes) = said(&[("api", &["databse", "zzz"]), ("database", &[])]);
        assert_eq!(order, ["api", "database"]);
        assert_eq!(
            mistakes,
            [
                "api: names `databse`, which is no backend; did you mean `database`?",
                "api: names `zzz`, which is no backend"
            ]
        );
    }
}
