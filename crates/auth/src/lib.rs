//! Who calls.
//!
//! Owns: the verification of tokens, the keys of issuers, principals, the layer that says who calls, and those that say who
//! may. Does not own: sessions and user interfaces of applications.
//!
//! | module | holds |
//! |---|---|
//! | [`authenticate`] | the tower layer, for HTTP and gRPC, and the extractors of axum |
//! | [`authorize`] | who may do what: [`Require`] on a route, [`Methods`] of gRPC, routes that are closed but for some |
//! | [`api_key`] | keys of programs, hashed where they are kept |
//! | [`certificate`] | clients known by their certificates, and tokens that are bound to one |
//! | [`config`] | whose tokens are taken, and by which rules |
//! | `issuer` | an OpenID provider of our own (feature `issuer`) |
//! | `token` | one token: its form, header and claims |
//! | `client` | this process as a client of who issues tokens: how it proves itself, where it asks |
//! | `fetch` | what is asked of issuers over HTTP, within bounds |
//! | [`introspection`] | tokens that their issuer is asked about |
//! | `file` | files that are watched |
//! | `keys` | the keys of an issuer, kept current: inline, from a file, from a URL |
//! | `verifier` | [`Verifier`]: whether a token is good, and whose it is |
//! | `cache` | what is known of tokens: whose they are, or what they were exchanged for |
//! | `flights` | work that several want at once, and is done once |
//! | [`outgoing`] | tokens for calls to other services |
//! | `principal` | [`Principal`]: who sent a request |
//! | `policy` (feature) | rules in Cedar about who may do what, as a layer and as a call |
//! | `refusal` | [`Refusal`]: why nobody was let in, for the log |
//!
//! Invariants: nothing of a token is trusted before its signature was checked with a key that is pinned to one algorithm; no
//! request takes a lock, or waits for a fetch longer than it may; what is not configured is not taken.
//!
//! ```
//! use mainstay_auth::{Config, Hmac, Issuer, Refusal, Verifier};
//! use mainstay_core::task::Tasks;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let issuer = Issuer::new("https://id.example").with_secret("of at least thirty-two characters", Hmac::HS256);
//! let verifier = Verifier::open(&Config::new(["orders"]).with_issuer("main", issuer), &Tasks::new()).await?;
//! assert_eq!(verifier.verify("no token").await.unwrap_err(), Refusal::NotAToken);
//! # Ok(())
//! # }
//! ```

pub mod api_key;
pub mod authenticate;
pub mod authorize;
mod cache;
pub mod certificate;
mod client;
mod clock;
pub mod config;
mod fetch;
mod file;
mod flights;
pub mod introspection;
#[cfg(feature = "issuer")]
pub mod issuer;
mod json;
mod keys;
pub mod outgoing;
#[cfg(feature = "policy")]
pub mod policy;
mod principal;
mod refusal;
mod rounds;
mod token;
mod verifier;

pub use self::{
    api_key::ApiKey,
    authenticate::{AuthenticateLayer, Claims},
    authorize::{Methods, Require},
    config::{Config, Hmac, Issuer, Relaxation, Rsa},
    fetch::{Answered, Services},
    outgoing::Outgoing,
    principal::{Means, Principal, UnexpectedClaims},
    refusal::Refusal,
    verifier::{Unusable, Verifier},
};

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/auth.md")]
struct Guide;

#[cfg(all(doctest, feature = "issuer"))]
#[doc = include_str!("../../../docs/issuer.md")]
struct IssuerGuide;

#[cfg(all(doctest, feature = "policy"))]
#[doc = include_str!("../../../docs/policy.md")]
struct PolicyGuide;
