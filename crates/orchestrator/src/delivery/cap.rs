//! Results that are no larger than they may be: small ones pass, large ones are cut, kept or refused
//! before more of them is held than the cap allows.

use std::ops::ControlFlow;

use switchboard_protocol::call::{Completed, Outcome};
use switchboard_protocol::delivery::{Cap, Over};
use switchboard_protocol::error::{Fault, Reason};
use switchboard_protocol::method::Method;
use switchboard_protocol::size::Size;
use switchboard_protocol::splice::member;
use switchboard_protocol::trail::{Decision, Step};

use super::convert::convert;
use super::cut::{Beginning, Cut, CutResult, Rest};
use super::held::{Held, Read, TooLarge, max_looked_at};
use super::links::Links;
use super::mend::mend;
use super::{Delivery, error};

impl Delivery<'_> {
    /// The outcome, converted, and no larger than its cap.
    pub(super) async fn capped(&self, outcome: Outcome) -> Outcome {
        let mut links = Links::new(self.kept);
        let outcome = self.linked(outcome, &mut links).await;
        if let Outcome::Complete(completed) = &outcome {
            links.linked_from(&completed.result);
        }
        outcome
    }

    async fn linked(&self, outcome: Outcome, links: &mut Links<'_>) -> Outcome {
        let Some(cap) = self.terms.cap else {
            return self.converted(outcome, links).await;
        };
        let capped = match outcome {
            Outcome::Complete(completed) => self.whole(&cap, completed, links).await,
            Outcome::Arriving(stream) => self.arriving(&cap, stream, links).await,
            Outcome::InputRequired(question) => {
                // Nobody could answer a part of it.
                let is_within = question.len() as u64 <= cap.always_within() || {
                    let segments = question.segments().iter();
                    let size: Size = segments.map(|segment| Size::of_text(segment)).sum();
                    size.is_within(cap.most())
                };
                return match is_within {
                    true => Outcome::InputRequired(question),
                    false => self.refused(&cap),
                };
            }
            Outcome::Failed(error) => return Outcome::Failed(error::shortened(error, &cap)),
        };
        match capped {
            ControlFlow::Break(outcome) => outcome,
            ControlFlow::Continue(too_large) => self.too_large(&cap, too_large, links).await,
        }
    }

    async fn converted(&self, outcome: Outcome, links: &mut Links<'_>) -> Outcome {
        match outcome {
            Outcome::Complete(completed) if !self.terms.conversions.is_none() => {
                let text = Vec::from(completed.result.into_contiguous());
                let length = text.len();
                let (text, _) = convert(self, links, text, length).await;
                Outcome::Complete(Completed {
                    result: text.into(),
                    ..completed
                })
            }
            other => other,
        }
    }

    /// Whether a result of this length is passed on as it is, whatever is in it.
    fn passes(&self, cap: &Cap, length: usize) -> bool {
        self.terms.conversions.is_none() && length as u64 <= cap.always_within()
    }

    async fn whole(
        &self,
        cap: &Cap,
        completed: Completed,
        links: &mut Links<'_>,
    ) -> ControlFlow<Outcome, TooLarge> {
        if self.passes(cap, completed.result.len()) {
            return ControlFlow::Break(Outcome::Complete(completed));
        }
        let text = completed.result.into_contiguous().into();
        self.measured(cap, text, completed.is_error, links).await
    }

    /// What becomes of a result that is all there.
    pub(super) async fn measured(
        &self,
        cap: &Cap,
        text: Vec<u8>,
        is_error: bool,
        links: &mut Links<'_>,
    ) -> ControlFlow<Outcome, TooLarge> {
        let length = text.len();
        if self.passes(cap, length) {
            return ControlFlow::Break(Outcome::Complete(Completed {
                result: text.into(),
                is_error,
            }));
        }
        let (text, _) = convert(self, links, text, length).await;
        if Size::of_result(&text).is_within(cap.most()) {
            return ControlFlow::Break(Outcome::Complete(Completed {
                result: text.into(),
                is_error,
            }));
        }
        ControlFlow::Continue(TooLarge {
            total: Some(length as u64),
            text,
            stream: None,
            is_error,
        })
    }

    async fn too_large(&self, cap: &Cap, too_large: TooLarge, links: &mut Links<'_>) -> Outcome {
        let over = self.over(cap, &too_large);
        self.report(over);
        if over == Over::Refuse {
            if let Some(mut stream) = too_large.stream {
                stream.cut_off();
            }
            return self.refused(cap);
        }
        let mut held = Held::of(self.method, cap, too_large).await;
        let mut rest = Rest::Lost;
        if over == Over::Handle {
            let unlinked = links.unlinked_beside(held.text());
            rest = self.keep(&mut held).await;
            if let Rest::Kept { .. } = rest {
                links.unlinked = unlinked;
            }
        }
        // Clients refuse a result without structured content of a tool with an `outputSchema`.
        if self.output_schema().is_some() {
            held.read_structured().await;
        }
        held.cut_off();
        self.cut(cap, held.finish(), &rest, links).await
    }

    /// What becomes of a result that is larger than its cap. Of one of another shape nobody knows what it may
    /// be without.
    fn over(&self, cap: &Cap, result: &TooLarge) -> Over {
        let is_task = || member(&result.text, "resultType") == Some(b"\"task\"");
        match self.method.may_pass() && !(result.stream.is_none() && is_task()) {
            true => cap.over,
            false => Over::Refuse,
        }
    }

    async fn cut(&self, cap: &Cap, read: Read, rest: &Rest, links: &mut Links<'_>) -> Outcome {
        let Read {
            mut text,
            total,
            is_error,
            skimmed,
        } = read;
        // Of content that is converted all may be of use.
        if self.terms.conversions.is_none() {
            text.truncate(max_looked_at(cap));
        }
        let mended = mend(&mut text);
        let (text, sound) = convert(self, links, text, mended.sound).await;
        let uri = self.call.target();
        let cut = Cut {
            method: self.method,
            cap: *cap,
            total,
            rest,
            knows_links: self.knows_links(),
            uri: uri
                .as_deref()
                .filter(|_| self.method == Method::ResourcesRead),
            is_error,
            skimmed: &skimmed,
            output_schema: self.output_schema().filter(|_| !is_error),
            schemas: self.schemas,
        };
        let CutResult { text, is_error } = cut.of(&Beginning { text: &text, sound });
        Outcome::Complete(Completed {
            result: text.into(),
            is_error,
        })
    }

    pub(super) fn refused(&self, cap: &Cap) -> Outcome {
        let message = format!(
            "The result of this call is larger than results may be here ({cap}), so it is not passed on. The work may have been done all the same: to see a result, call again with arguments that ask for less, such as a filter or a page."
        );
        let fault = Fault::unknown(Reason::TooLarge, message).of(self.backend);
        Outcome::Failed(fault.into())
    }

    /// Counts and notes that a result is larger than it may be.
    pub(super) fn report(&self, over: Over) {
        self.metrics.result_capped(over.as_str(), self.backend);
        if let Some(trail) = &self.call.trail {
            trail.note(Step::Decision {
                policy: "result_cap",
                rule: over.as_str().into(),
                decision: match over {
                    Over::Refuse => Decision::Denied,
                    Over::Truncate | Over::Handle => Decision::Cut,
                },
            });
        }
    }
}
