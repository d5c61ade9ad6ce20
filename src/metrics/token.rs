//! Why a token was not believed: a closed list of label values.

/// What was wrong with a client's token, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenFault {
    /// It is no token at all; in mode "none", no name.
    Malformed,
    /// Its algorithm is not the one of its key, or none.
    Algorithm,
    /// Its key is not known.
    Kid,
    /// It was not signed with that key, or was changed.
    Signature,
    /// It is for somebody else.
    Audience,
    /// It is from somebody else.
    Issuer,
    /// A claim is missing, or is not what it must be.
    Claims,
    /// Its end has passed.
    Expired,
    /// Its beginning has not come.
    NotYet,
    /// It is another user's than the session that it was to renew.
    User,
    /// It was to renew a session where tokens renew nothing (mode "none").
    Mode,
}

impl TokenFault {
    /// Every fault, in the order of its index.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Algorithm,
        Self::Kid,
        Self::Signature,
        Self::Audience,
        Self::Issuer,
        Self::Claims,
        Self::Expired,
        Self::NotYet,
        Self::User,
        Self::Mode,
    ];

    /// The word in labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Kid => "kid",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::Claims => "claims",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::User => "user",
            Self::Mode => "mode",
        }
    }
}
