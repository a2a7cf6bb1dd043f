//! In which order backends are started: those that another depends on before it.

use std::collections::BTreeMap;

use switchboard_backends::config::BackendConfig;

use crate::config::{ConfigProblem, did_you_mean, path};

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

/// Every name that is none, and every cycle. `dependencies` are those of each backend, by name.
#[must_use]
pub fn problems(dependencies: &BTreeMap<&str, &[String]>) -> Vec<ConfigProblem> {
    let problem = |backend: &str, message: String| ConfigProblem {
        path: path(&["backends", backend, "depends_on"]),
        other: Some(path(&["backends"])),
        message,
    };
    let mut problems = Vec::new();
    for (backend, named) in dependencies {
        let unknown = named
            .iter()
            .filter(|name| !dependencies.contains_key(&***name));
        problems.extend(unknown.map(|name| {
            let near = did_you_mean(name, dependencies.keys().copied());
            problem(
                backend,
                format!("names `{name}`, which is no backend{near}"),
            )
        }));
    }
    if let Err(cycle) = order(dependencies) {
        let shown: Vec<String> = cycle.iter().map(|name| format!("`{name}`")).collect();
        let message = format!(
            "is a circle: {}; expected one that ends, or none of them could be started first",
            shown.join(" → ")
        );
        problems.extend(cycle.first().map(|backend| problem(backend, message)));
    }
    problems
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
        let problems = problems(&map).into_iter();
        let problems = problems.map(|problem| format!("{}: {}", problem.path[1], problem.message));
        (order(&map).unwrap_or_default(), problems.collect())
    }

    #[test]
    fn what_is_depended_on_comes_first() {
        let (order, problems) = said(&[
            ("api", &["db", "auth"]),
            ("auth", &["db"]),
            ("db", &[]),
            ("other", &[]),
        ]);
        assert_eq!(order, ["db", "auth", "api", "other"]);
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn a_cycle_is_printed_from_a_backend_back_to_itself() {
        let (_, problems) = said(&[("a", &["b"]), ("b", &["c"]), ("c", &["d", "b"]), ("d", &[])]);
        assert_eq!(
            problems,
            [
                "b: is a circle: `b` → `c` → `b`; expected one that ends, or none of them could be started first"
            ]
        );
        let (_, problems) = said(&[("a", &["a"])]);
        assert!(problems[0].starts_with("a: is a circle: `a` → `a`;"));
    }

    #[test]
    fn a_name_that_is_none_comes_with_the_nearest() {
        let (order, problems) = said(&[("api", &["databse", "zzz"]), ("database", &[])]);
        assert_eq!(order, ["api", "database"]);
        assert_eq!(
            problems,
            [
                "api: names `databse`, which is no backend; did you mean `database`?",
                "api: names `zzz`, which is no backend"
            ]
        );
    }
}
