//! One line for each value of a closed list of the protocol: its name, its code, its word.

/// Defines a field-less enum together with what every closed list offers: `ALL`, `code`,
/// `from_code`, `word`, `from_word`, `index` and `Display` (the word). Codes count up by one.
macro_rules! closed_list {
    (
        $(#[$about:meta])*
        $list:ident: $int:ty {
            $($(#[$variant_about:meta])* $variant:ident = $code:literal $word:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $list {
            $($(#[$variant_about])* $variant = $code,)+
        }

        impl $list {
            /// Every value, in the order of the codes.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$variant),+];

            /// The code on the wire.
            pub const fn code(self) -> $int {
                self as $int
            }

            /// The value of a code, or `None` for a code that version 1 does not know.
            pub const fn from_code(code: $int) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The lower-case word: in the log, in a metric label, on the command line.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The value of a word, or `None` for one that none has.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|known| known.word() == word)
            }

            /// The place in [`Self::ALL`].
            pub const fn index(self) -> usize {
                (self.code() - Self::ALL[0].code()) as usize
            }
        }

        impl std::fmt::Display for $list {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}
