//! Why a request is not let in: for the log, each its own; the caller learns next to nothing of it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mainstay_core::metrics::{Definition, Observations};

/// Makes the enum and its texts from one list, so that none is without a name.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident => $slug:literal, $text:literal;)*) => {
        /// Why a request is not let in.
        ///
        /// For the log and for tests: what the caller is told does not tell one bad token from another.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Refusal { $($(#[$doc])* $name,)* }

        impl Refusal {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in logs, which stays as it is: `bad_signature`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }
        }

        impl fmt::Display for Refusal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

refusals! {
    /// The request has no bearer token.
    NoCredentials => "no_credentials", "the request has no bearer token";
    /// More than one `Authorization` (RFC 6750 section 2: one method, once).
    SeveralCredentials => "several_credentials", "the request has several Authorization fields";
    /// `access_token` in the query string (RFC 9700 section 4.3.2: it must not be there).
    TokenInQuery => "token_in_query", "the request has a token in its query string";

    /// Longer than `auth.max_token`; nothing of it was read.
    TooLong => "token_too_long", "the token is longer than is read";
    /// Not three parts with points between.
    NotAToken => "not_a_token", "the token is not a JWT in compact form";
    /// Five parts, or a header with `enc` or `zip`: JWE (RFC 7516).
    Encrypted => "encrypted", "the token is encrypted";
    /// Padding, other characters, or bits beyond the end (RFC 7515 section 2).
    BadBase64 => "bad_base64", "a part of the token is not base64url without padding";

    /// The header is no JSON object, or one of its members has another type than it must.
    BadHeader => "bad_header", "the header of the token is malformed";
    /// A name stands twice in the header.
    DuplicateHeader => "duplicate_header", "a name stands twice in the header of the token";
    /// `alg` is `none`, in whatever spelling (RFC 8725 section 3.2).
    Unsigned => "unsigned", "the token is not signed";
    /// An `alg` that is not known here.
    UnknownAlgorithm => "unknown_algorithm", "the token has an unknown algorithm";
    /// HMAC, where the issuer has no `secret` (RFC 8725 section 2.1).
    SymmetricAlgorithm => "symmetric_algorithm", "the token has a symmetric algorithm, its issuer has none";
    /// The key is for another algorithm (RFC 8725 section 3.1).
    WrongAlgorithm => "wrong_algorithm", "the token has another algorithm than its key";
    /// `crit`: there is no extension that is understood here (RFC 7515 section 4.1.11).
    CriticalHeader => "critical_header", "the token has critical header members that are not understood";
    /// The header brings its own key: `jwk` or `x5c`.
    EmbeddedKey => "embedded_key", "the token brings its own key";
    /// The header says where to fetch a key: `jku` or `x5u` (RFC 8725 section 3.10).
    KeyUrl => "key_url", "the token says where to fetch its key";
    /// `cty` says that a token is within (RFC 7519 section 5.2).
    Nested => "nested", "the token holds another token";
    /// `typ` is that of another kind of JWT (RFC 8725 section 3.11, RFC 9068 section 4).
    WrongType => "wrong_type", "the token is not an access token by its typ";

    /// The claims are no JSON object.
    BadClaims => "bad_claims", "the claims of the token are malformed";
    /// A name stands twice in the claims.
    DuplicateClaim => "duplicate_claim", "a name stands twice in the claims of the token";
    /// A registered claim has another type than it must.
    ClaimType => "claim_type", "a claim of the token has the wrong type";
    /// A date that is before 1970 or after 9999.
    DateRange => "date_out_of_range", "a date in the token is out of range";
    /// No `iss`.
    MissingIssuer => "missing_issuer", "the token names no issuer";
    /// `iss` is a list or something else than one text.
    IssuerType => "issuer_type", "the issuer of the token is not one text";
    /// No such issuer is configured, byte for byte.
    UnknownIssuer => "unknown_issuer", "the token is of an unknown issuer";

    /// No `kid`, and not exactly one key that it could be.
    MissingKeyId => "missing_key_id", "the token does not say which key it is signed with";
    /// The issuer has no such key, as far as is known.
    UnknownKey => "unknown_key", "the token is signed with an unknown key";
    /// The key is for encryption (`use`, `key_ops`; RFC 7517 sections 4.2 and 4.3).
    KeyUse => "key_use", "the key of the token is not for signatures";
    /// The keys of the issuer are not there: never fetched, or too old.
    KeysUnavailable => "keys_unavailable", "the keys of the issuer are not available";
    /// The issuer, which has to be asked about the token (`introspection`), does not answer.
    IssuerUnavailable => "issuer_unavailable", "the issuer can't be asked about the token";
    /// The issuer says that the token is not good, or not any more (RFC 7662 section 2.2).
    Inactive => "inactive", "the issuer says that the token is not active";
    /// No such key is known, or it is not that (`auth.api_keys`).
    UnknownApiKey => "unknown_api_key", "the API key is not known";
    /// The key is beyond its `expires`.
    ExpiredApiKey => "expired_api_key", "the API key has expired";
    /// The signature is not one of that key.
    BadSignature => "bad_signature", "the signature of the token is wrong";

    /// No `exp`.
    MissingExpiry => "missing_expiry", "the token has no expiry";
    /// `exp` has passed.
    Expired => "expired", "the token has expired";
    /// `nbf` is to come.
    NotYetValid => "not_yet_valid", "the token is not valid yet";
    /// `iat` is to come.
    IssuedInFuture => "issued_in_future", "the token was issued in the future";
    /// No `aud`.
    MissingAudience => "missing_audience", "the token names no audience";
    /// None of ours among `aud`.
    WrongAudience => "wrong_audience", "the token is for another audience";
    /// No `sub` (RFC 9068 section 2.2; `relax = ["sub"]`).
    MissingSubject => "missing_subject", "the token names no subject";
    /// No `client_id` (RFC 9068 section 2.2; `relax = ["client_id"]`).
    MissingClient => "missing_client", "the token names no client";
    /// No `iat` (RFC 9068 section 2.2; `relax = ["iat"]`).
    MissingIssuedAt => "missing_issued_at", "the token does not say when it was issued";
    /// No `jti` (RFC 9068 section 2.2; `relax = ["jti"]`).
    MissingTokenId => "missing_token_id", "the token has no id";
    /// `cnf`: only who proves to hold a key may use it (RFC 7800, RFC 8705, RFC 9449), which a bearer does not.
    SenderConstrained => "sender_constrained", "the token is bound to a key, and came without proof of it";

    /// It is known who calls, and the token lacks a scope that is wanted (RFC 6750 section 3.1).
    InsufficientScope => "insufficient_scope", "the token lacks a scope that is wanted";
    /// It is known who calls, and that is nobody with the role that is wanted.
    MissingRole => "missing_role", "the principal lacks a role that is wanted";
    /// It is known who calls, and the token was issued to another client than the one that is wanted.
    OtherClient => "other_client", "the client is another one than the one that may call";
    /// A method of a gRPC service of which nobody said who may call it.
    UndeclaredMethod => "undeclared_method", "nobody may call the method: it was not said who may";
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Whether it is nobody's mistake: the token may be good.
    #[must_use]
    pub const fn is_unavailable(self) -> bool {
        matches!(self, Self::KeysUnavailable | Self::IssuerUnavailable)
    }

    /// Whether it is known who calls, who may not do this.
    #[must_use]
    pub const fn is_denial(self) -> bool {
        matches!(
            self,
            Self::InsufficientScope | Self::MissingRole | Self::OtherClient | Self::UndeclaredMethod
        )
    }

    /// Whether the request is wrong, whatever its token is (RFC 6750 section 3.1, `invalid_request`).
    pub(crate) const fn is_malformed(self) -> bool {
        matches!(self, Self::SeveralCredentials | Self::TokenInQuery)
    }

    /// What the caller learns of it, as the metric names it.
    const fn kind(self) -> &'static str {
        match self {
            Self::NoCredentials => "anonymous",
            refusal if refusal.is_denial() => "denied",
            refusal if refusal.is_malformed() => "malformed",
            refusal if refusal.is_unavailable() => "unavailable",
            _ => "invalid",
        }
    }
}

/// How often there was which refusal. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Counts(Arc<[AtomicU64]>);

impl Default for Counts {
    fn default() -> Self {
        Self(Refusal::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl Counts {
    pub(crate) fn add(&self, refusal: Refusal) {
        if let Some(count) = self.0.get(refusal as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those that there were.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Refusal::ALL.iter().copied().zip(counts).filter(|(_, count)| *count > 0)
    }

    pub(crate) fn observe(&self, to: &mut Observations) {
        let refused = Definition::new("mainstay.auth.refused", "{request}", "Requests that were not let in");
        for (refusal, count) in self.iter() {
            to.counter(&refused, [("reason", refusal.name()), ("kind", refusal.kind())], count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
    }

    #[test]
    fn each_is_counted_for_itself() {
        let counts = Counts::default();
        assert_eq!(counts.iter().count(), 0);
        for (index, refusal) in Refusal::ALL.iter().enumerate() {
            (0..=index).for_each(|_| counts.clone().add(*refusal));
        }
        let counted: Vec<_> = counts.iter().collect();
        let expected: Vec<_> = Refusal::ALL.iter().copied().zip(1..).collect();
        assert_eq!(counted, expected);
    }
}
