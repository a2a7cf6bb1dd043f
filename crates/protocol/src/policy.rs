//! What decides about calls, as those see it that make lists and calls: the seam that the gateway
//! fills. One decision serves listing and calling, and is taken again for every substitute.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::call::{Call, Principal};
use crate::delivery::{Redactor, Terms};
use crate::error::Fault;

/// What a call is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// A tool.
    Tool,
    /// A prompt, also where its arguments are completed.
    Prompt,
    /// A resource, a template, a skill or a directory of skills.
    Resource,
}

/// What a call is aimed at, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'t> {
    /// What it is.
    pub kind: TargetKind,
    /// The backend that has it.
    pub backend: &'t str,
    /// The name of a tool or prompt as the gateway lists it without a profile; a URI as its server
    /// writes it.
    pub name: &'t str,
}

/// Callers that see the same: a key for what is made once for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Audience(pub Arc<[u64]>);

/// Decides who sees what, and who may do what, how often. Immutable: another configuration is another
/// policy.
pub trait Policy: fmt::Debug + Send + Sync {
    /// Who sees the same as this principal in this profile; `None`: everybody sees everything.
    fn audience(&self, principal: &Principal, profile: Option<&str>) -> Option<Audience>;

    /// Whether this principal may know of this in this profile, and so may call it with some
    /// arguments. The same for all of one [`Audience`].
    fn shows(&self, principal: &Principal, profile: Option<&str>, target: &Target<'_>) -> bool;

    /// Whether this principal may know that there is this backend: something of it may be shown.
    fn shows_backend(&self, principal: &Principal, profile: Option<&str>, backend: &str) -> bool;

    /// Decides about a call of something that is shown, and takes from limits and budgets what it
    /// costs. A continuation is the same call as before: it is decided about, and not charged.
    fn admit(&self, call: &Call, target: &Target<'_>, is_continuation: bool) -> Admission;

    /// What holds for the results of a call; `None`: they are handed on as they come.
    fn terms(&self, _call: &Call, _target: &Target<'_>) -> Option<Terms> {
        None
    }

    /// Takes secrets out of what this backend says, if that is wanted: of what is no result of a call.
    fn redactor(&self, _backend: &str) -> Option<Arc<dyn Redactor>> {
        None
    }

    /// Is told that a call was answered as if there were no such target, since it is not shown.
    fn hid(&self, _call: &Call, _target: &Target<'_>) {}
}

/// The policy without any rule: everybody may do everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unrestricted;

impl Policy for Unrestricted {
    fn audience(&self, _: &Principal, _: Option<&str>) -> Option<Audience> {
        None
    }

    fn shows(&self, _: &Principal, _: Option<&str>, _: &Target<'_>) -> bool {
        true
    }

    fn shows_backend(&self, _: &Principal, _: Option<&str>, _: &str) -> bool {
        true
    }

    fn admit(&self, _: &Call, _: &Target<'_>, _: bool) -> Admission {
        Admission::Decided(Ok(Permit::FREE))
    }
}

/// What was decided about a call.
pub type Verdict = Result<Permit, Box<Fault>>;

/// The answer to whether a call may be made.
pub enum Admission {
    /// Known at once.
    Decided(Verdict),
    /// Somebody else has to be asked, who answers in bounded time.
    Pending(Pin<Box<dyn Future<Output = Verdict> + Send>>),
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decided(Ok(_)) => "Decided(Ok)",
            Self::Decided(Err(_)) => "Decided(Err)",
            Self::Pending(_) => "Pending",
        })
    }
}

/// What a call holds until its last byte. Dropped without [`Permit::settle`] it was given up by its
/// caller: what it took for its time is given back, what was charged stays charged.
pub struct Permit(Option<Box<dyn Hold>>);

/// What stands behind a [`Permit`].
pub trait Hold: Send {
    /// The call has ended like this.
    fn settle(self: Box<Self>, ending: Ending);
}

/// How a call ended, as far as limits and budgets are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Whether anything was executed, or may have been: else what was charged is given back.
    pub did_something: bool,
    /// How long the result was, in bytes.
    pub bytes: u64,
}

impl Permit {
    /// Of a call that holds nothing.
    pub const FREE: Self = Self(None);

    /// Of a call that holds this.
    #[must_use]
    pub fn holding(hold: Box<dyn Hold>) -> Self {
        Self(Some(hold))
    }

    /// Whether it holds nothing, so that nobody has to see the end of the call.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.0.is_none()
    }

    /// Gives back what the call held, and charges what is known only now.
    pub fn settle(self, ending: Ending) {
        if let Some(hold) = self.0 {
            hold.settle(ending);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.0.is_some()).finish()
    }
}

/// What a policy has worked out about a principal, kept with it so that a call need not work it out
/// again. It says nothing of who the principal is: it is left out of comparisons and copies.
#[derive(Default)]
pub struct Memo(ArcSwapOption<Remembered>);

struct Remembered {
    policy: u64,
    what: Arc<dyn Any + Send + Sync>,
}

impl Memo {
    /// What the policy of this number remembers; `None` if it was another's, or another type's.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self, policy: u64) -> Option<Arc<T>> {
        let known = self.0.load();
        let known = known.as_ref().filter(|known| known.policy == policy)?;
        Arc::clone(&known.what).downcast().ok()
    }

    /// Remembers this for the policy of this number, in the place of whatever was remembered.
    pub fn put<T: Any + Send + Sync>(&self, policy: u64, what: Arc<T>) {
        self.0.store(Some(Arc::new(Remembered { policy, what })));
    }
}

impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}

impl Hash for Memo {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}
