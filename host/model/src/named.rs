//! Lists of what a test can ask a build with the feature `weakened` for by name, and which of a list it asked for.

/// Makes the enum of a list: each variant with the name by which a test asks for it, and sentences about it, of which
/// the first is its documentation. The module of the enum has them from `sentences`.
macro_rules! named {
    ($(#[$doc:meta])* $of:ident; $($variant:ident, $name:literal, $first:literal $(, $other:literal)*;)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $of {
            $(#[doc = $first] $variant,)+
        }

        impl $of {
            /// All of them, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name by which a test asks for it: small letters and hyphens.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            const fn sentences(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &[$first $(, $other)*],)+
                }
            }
        }
    };
}

pub(crate) use named;

#[cfg(feature = "weakened")]
pub(crate) use switch::Switch;

#[cfg(feature = "weakened")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    /// Which one of a list is asked for in this process, by its place in the list.
    pub(crate) struct Switch(AtomicU8);

    impl Switch {
        const NONE: u8 = u8::MAX;

        /// A switch by which none is asked for.
        pub(crate) const fn none() -> Self {
            Self(AtomicU8::new(Self::NONE))
        }

        /// Asks for this one alone, or for none.
        pub(crate) fn set(&self, place: Option<u8>) {
            self.0.store(place.unwrap_or(Self::NONE), Ordering::SeqCst);
        }

        /// Whether this one is asked for.
        pub(crate) fn is(&self, place: u8) -> bool {
            self.0.load(Ordering::SeqCst) == place
        }
    }
}
