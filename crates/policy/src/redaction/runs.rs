//! How far characters of one set reach, without walking over the same ones again and again.

use std::cell::RefCell;

use super::class::Class;
use super::text::{Stop, Text};
use super::token::MAX_LENGTH;

/// More escapes in a run than the longest token has are forgotten where none begins among them any more.
const MOST_ESCAPES: usize = 64 * 1024;

/// How far characters of a set reach from a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Behind the last of them.
    pub(super) end: usize,
    /// How many they are.
    pub(super) count: usize,
}

/// The runs that were walked last in a text, one of each set of characters. In a text made of many
/// beginnings of tokens they all begin in the same run.
#[derive(Default)]
pub(super) struct Runs(RefCell<Vec<Run>>);

impl Runs {
    /// As many characters of this set as there are from this place on, at most so many.
    pub(super) fn reach(
        &self,
        text: &Text<'_>,
        from: usize,
        class: Class,
        max: usize,
    ) -> Result<Reach, Stop> {
        let mut runs = self.0.borrow_mut();
        let known = match runs.iter().position(|run| run.class == class) {
            Some(known) => known,
            None => {
                runs.push(Run::new(class, from));
                runs.len() - 1
            }
        };
        let run = &mut runs[known];
        if !run.covers(from) {
            run.restart(from);
        }
        run.reach(text, from, max)
    }
}

/// A run of characters of one set. A dot is one of them only if within two characters another follows:
/// one that ends a sentence is not.
pub(super) struct Run {
    class: Class,
    from: usize,
    /// How far it was walked.
    at: usize,
    /// Whether it ends there.
    has_ended: bool,
    escapes: Vec<Escape>,
    /// What escapes that were forgotten have beyond one byte each.
    forgotten: usize,
}

/// A character that takes more than one byte.
struct Escape {
    from: usize,
    end: usize,
    /// How many bytes it and all before it have beyond one each.
    beyond: usize,
}

impl Run {
    /// One that begins here and was not walked yet.
    pub(super) fn new(class: Class, from: usize) -> Self {
        Self {
            class,
            from,
            at: from,
            has_ended: false,
            escapes: Vec::new(),
            forgotten: 0,
        }
    }

    fn restart(&mut self, from: usize) {
        self.escapes.clear();
        self.forgotten = 0;
        (self.from, self.at, self.has_ended) = (from, from, false);
    }

    /// Whether one of its characters, or what follows, begins here.
    fn covers(&self, place: usize) -> bool {
        let before = self.escapes.partition_point(|escape| escape.from < place);
        let within = self.escapes[..before]
            .last()
            .is_some_and(|escape| place < escape.end);
        (self.from..=self.at).contains(&place) && !within
    }

    /// As many characters as there are from this place on, at most so many.
    pub(super) fn reach(
        &mut self,
        text: &Text<'_>,
        from: usize,
        max: usize,
    ) -> Result<Reach, Stop> {
        if self.escapes.len() > MOST_ESCAPES {
            self.forget(from);
        }
        let mut count = (self.at - from) - (self.beyond(self.at) - self.beyond(from));
        while !self.has_ended && count < max && self.at - from < MAX_LENGTH {
            match self.next(text)? {
                None => self.has_ended = true,
                Some(next) => {
                    if next > self.at + 1 {
                        self.escapes.push(Escape {
                            from: self.at,
                            end: next,
                            beyond: self.beyond(self.at) + next - self.at - 1,
                        });
                    }
                    self.at = next;
                    count += 1;
                }
            }
        }
        let mut reach = Reach {
            end: self.at,
            count,
        };
        if count > max {
            reach = Reach {
                end: self.place_of(from, max),
                count: max,
            };
        }
        if self.class.has(b'.') {
            // Where it was cut: else no dot is the last.
            while reach.count > 0 {
                let last = self.place_of(from, reach.count - 1);
                if !matches!(text.char_at(last), Ok((b'.', _))) {
                    break;
                }
                reach = Reach {
                    end: last,
                    count: reach.count - 1,
                };
            }
        }
        Ok(reach)
    }

    /// Where the next character ends, if it is one of the run.
    fn next(&self, text: &Text<'_>) -> Result<Option<usize>, Stop> {
        let has = |at| match text.char_at(at) {
            Ok((found, next)) if self.class.has(found) => Ok(Some((found, next))),
            Ok(_) | Err(Stop::End) => Ok(None),
            Err(Stop::More) => Err(Stop::More),
        };
        let Some((found, next)) = has(self.at)? else {
            return Ok(None);
        };
        let mut at = next;
        let mut last = found;
        for _ in 0..2 {
            if last != b'.' {
                return Ok(Some(next));
            }
            let Some((found, behind)) = has(at)? else {
                return Ok(None);
            };
            (last, at) = (found, behind);
        }
        Ok((last != b'.').then_some(next))
    }

    /// How many bytes what is escaped before this place has beyond one each.
    fn beyond(&self, place: usize) -> usize {
        let before = self.escapes.partition_point(|escape| escape.from < place);
        let last = self.escapes[..before].last();
        last.map_or(self.forgotten, |escape| escape.beyond)
    }

    /// Where the character begins that so many others are before, from a place on.
    fn place_of(&self, from: usize, count: usize) -> usize {
        let before = self.beyond(from);
        // An escape is before it if fewer than so many characters are before the escape.
        let last = self.escapes.partition_point(|escape| {
            let beyond = escape.beyond + 1 - (escape.end - escape.from);
            escape.from < from || (escape.from - from) - (beyond - before) < count
        });
        let last = self.escapes[..last].last();
        let beyond = last.map_or(self.forgotten, |escape| escape.beyond);
        from + count + beyond - before
    }

    /// Forgets what is before this place.
    fn forget(&mut self, place: usize) {
        self.forgotten = self.beyond(place);
        self.escapes.retain(|escape| escape.from >= place);
        self.from = place;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::class::{ALNUM, DOTTED, WORD};
    use super::super::memory::Memory;
    use super::*;

    proptest! {
        #[test]
        fn what_is_remembered_is_what_would_be_walked(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["a", "bc", ".", "..", "-", "%2E", "%41", "\\u0041", "\\\\n", "Z9", " "]), 0..40),
            asked in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..30, 0_usize..3), 1..20),
        ) {
            let bytes = pieces.concat();
            // Where characters begin.
            let ends = pieces.iter().scan(0, |at, piece| { *at += piece.len(); Some(*at) });
            let places: Vec<_> = [0].into_iter().chain(ends).collect();
            let memory = Memory::default();
            let text = Text::whole(bytes.as_bytes(), &memory);
            for (place, max, class) in asked {
                let (from, class) = (places[place.index(places.len())], [ALNUM, DOTTED, WORD][class]);
                let remembered = memory.runs.reach(&text, from, class, max);
                let walked = Run::new(class, from).reach(&text, from, max);
                prop_assert_eq!(remembered, walked, "from {} of {}", from, bytes);
                let reach = walked.expect("a whole text");
                let mut at = from;
                for _ in 0..reach.count {
                    at = text.char_at(at).expect("a character").1;
                }
                prop_assert_eq!(at, reach.end);
            }
        }
    }
}
