//! Results that were too large to send. Nothing is kept yet: there is room for none.

use bytes::Bytes;
use switchboard_protocol::call::Call;
use switchboard_protocol::policy::Target;

/// Results that were too large to send, for their callers to read on in. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(());

/// There is no room for it, for this principal or in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// A result that is being kept. Dropped before its end it is forgotten.
#[derive(Debug)]
pub(crate) struct Keeping(());

/// A result that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptResult {
    /// Where it can be read.
    pub(crate) uri: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// What it is.
    pub(crate) media_type: &'static str,
    /// What is in it, in few words.
    pub(crate) shape: String,
}

impl Kept {
    /// Begins to keep a result of this call, aimed at this target.
    #[expect(clippy::unused_self, reason = "nothing is kept yet")]
    pub(crate) fn begin(&self, _call: &Call, _target: &Target<'_>) -> Result<Keeping, NoRoom> {
        Err(NoRoom)
    }

    /// Keeps one image, audio or blob, given in base64.
    #[expect(clippy::unused_self, reason = "nothing is kept yet")]
    pub(crate) fn keep_content(
        &self,
        _call: &Call,
        _target: &Target<'_>,
        _media_type: &str,
        _base64: &[u8],
    ) -> Result<KeptResult, NoRoom> {
        Err(NoRoom)
    }
}

impl Keeping {
    /// The next piece of the result object.
    #[expect(clippy::unused_async, reason = "nothing is kept yet")]
    pub(crate) async fn push(&mut self, _piece: &Bytes) -> Result<(), NoRoom> {
        Err(NoRoom)
    }

    /// The result was whole, or broke off here.
    #[expect(clippy::unused_async, reason = "nothing is kept yet")]
    pub(crate) async fn finish(self, _is_whole: bool) -> KeptResult {
        KeptResult {
            uri: String::new(),
            size: 0,
            media_type: "application/json",
            shape: String::new(),
        }
    }
}
