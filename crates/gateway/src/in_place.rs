//! Boxes that are filled where they are.

use std::pin::Pin;

/// The future that `make` makes, in a box. [`Box::pin`] has it made elsewhere first and moves it
/// there, which for those of whole calls is thousands of bytes.
#[inline]
pub(crate) fn pinned<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let place = Box::new_uninit();
    Box::into_pin(Box::write(place, make()))
}
