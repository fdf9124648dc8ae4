//! Descriptions of services as values: what a caller may send and may be answered, and whether a new description keeps
//! what an old one promised.
//!
//! ```
//! use mainstay_interface::{Document, compare};
//! use serde_json::json;
//!
//! let describe = |price: &str| {
//!     let product = json!({"type": "object", "required": [price], "properties": {price: {"type": "integer"}}});
//!     let answer = json!({"description": "it", "content": {"application/json": {"schema": product}}});
//!     Document::new(json!({"openapi": "3.1.0", "paths": {"/products": {"get": {"responses": {"200": answer}}}}}))
//! };
//! let (old, new) = (describe("price_cents")?, describe("price")?);
//! assert!(compare(&old, &old)?.is_compatible());
//! let breaking = compare(&old, &new)?.breaking;
//! assert_eq!(breaking[0].place, "GET /products, answer 200 application/json, `price_cents`");
//! assert_eq!(breaking[0].why, "`price_cents` may be missing");
//! # Ok::<(), mainstay_interface::Unreadable>(())
//! ```
//!
//! Owns the rules, and knows nothing of how a service is made or called: it takes JSON and gives differences. No
//! document is fetched, references are followed within a document only, and every walk is bounded, so that documents
//! may come from anywhere. `docs/interfaces.md` says what counts as breaking, and why.
//!
//! | module | has |
//! |---|---|
//! | `document` | reading a description, and places in it |
//! | `openapi` | operations, parameters, bodies, answers, security |
//! | `schema` | whether what one side may write fits what the other can read |
//! | `protobuf` | services, messages and enums of protobuf (feature `protobuf`) |
//! | `change` | what is found |

mod change;
mod difference;
mod document;
mod exchange;
mod openapi;
#[cfg(feature = "protobuf")]
pub mod protobuf;
mod schema;

pub use change::{Change, Comparison};
pub use document::{Document, Unreadable};
pub use exchange::{Exchange, Mismatch};
pub use openapi::{compare, template};
