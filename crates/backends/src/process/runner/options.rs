//! The options before the first argument that is none.

/// The options of a program, as far as they are known.
pub(super) struct Known {
    /// Those without a value, with their dashes.
    pub(super) flags: &'static [&'static str],
    /// Those with a value, which is the next argument or stands behind `=`.
    pub(super) valued: &'static [&'static str],
    /// Whether letters behind one dash may stand together, with a value at their end: `-ie KEY=1`.
    pub(super) clusters: bool,
}

/// An option that is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given<'a> {
    /// With its dashes.
    pub(super) name: String,
    /// Its value, the argument that holds it, and at which byte of that it begins.
    pub(super) value: Option<(&'a str, usize, usize)>,
}

/// The options of some arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options<'a> {
    pub(super) given: Vec<Given<'a>>,
    /// Where they end: at a `--`, or at the first argument that is none.
    pub(super) end: usize,
    /// The first argument that is none; as many as there are arguments if there is no such.
    pub(super) operand: usize,
}

impl Options<'_> {
    /// Whether one of these is there.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        let mut given = self.given.iter();
        given.any(|option| names.contains(&option.name.as_str()))
    }
}

impl Known {
    /// Reads the options that begin at an argument; `None` if one is not known.
    pub(super) fn read<'a>(&self, args: &'a [String], start: usize) -> Option<Options<'a>> {
        let mut given = Vec::new();
        let mut at = start;
        loop {
            let Some(arg) = args.get(at).filter(|arg| is_option(arg)) else {
                return Some(Options {
                    given,
                    end: at,
                    operand: at,
                });
            };
            if arg == "--" {
                return Some(Options {
                    given,
                    end: at,
                    operand: at + 1,
                });
            }
            at += 1;
            if let Some((name, value)) = arg.split_once('=')
                && (self.valued.contains(&name) || self.flags.contains(&name))
            {
                given.push(Given {
                    name: name.to_owned(),
                    value: Some((value, at - 1, name.len() + 1)),
                });
            } else if self.flags.contains(&arg.as_str()) {
                given.push(Given {
                    name: arg.clone(),
                    value: None,
                });
            } else if self.valued.contains(&arg.as_str()) {
                given.push(Given {
                    name: arg.clone(),
                    value: Some((args.get(at)?, at, 0)),
                });
                at += 1;
            } else {
                at = self.read_cluster(args, at - 1, &mut given)?;
            }
        }
    }

    /// Reads letters behind one dash; returns the argument behind them.
    fn read_cluster<'a>(
        &self,
        args: &'a [String],
        at: usize,
        given: &mut Vec<Given<'a>>,
    ) -> Option<usize> {
        let arg = &args[at];
        if !self.clusters || arg.starts_with("--") {
            return None;
        }
        for (place, letter) in arg.char_indices().skip(1) {
            let name = format!("-{letter}");
            if self.flags.contains(&name.as_str()) {
                given.push(Given { name, value: None });
                continue;
            }
            if !self.valued.contains(&name.as_str()) {
                return None;
            }
            let behind = place + letter.len_utf8();
            let is_whole = behind == arg.len();
            let value = match is_whole {
                true => (args.get(at + 1)?.as_str(), at + 1, 0),
                false => (&arg[behind..], at, behind),
            };
            given.push(Given {
                name,
                value: Some(value),
            });
            return Some(at + 1 + usize::from(is_whole));
        }
        Some(at + 1)
    }
}

fn is_option(arg: &str) -> bool {
    arg.len() > 1 && arg.starts_with('-')
}
