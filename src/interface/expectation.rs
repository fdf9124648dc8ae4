//! What one service needs of another.

use std::fmt;

use mainstay_client::Operation;
use mainstay_interface::{Comparison, Document, Unreadable, compare};
use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema};

/// What one service needs of another: the operations that it calls, with what it sends and what it reads. It is
/// compared as an old description is with a new one: what breaks callers of the old one breaks this caller.
///
/// ```
/// use mainstay::{client::Operation, interface::{Document, Expectation}};
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// #[derive(Deserialize, utoipa::ToSchema)]
/// struct Price {
///     price_cents: u32,
/// }
///
/// const PRICE: Operation<(), Price> = Operation::get("catalog", "/products/{sku}").answers();
///
/// let answer = json!({"content": {"application/json": {"schema": {"type": "object", "properties": {"price": {}}}}}});
/// let paths = json!({"/products/{sku}": {"get": {"responses": {"200": answer}}}});
/// let catalog = Document::new(json!({"openapi": "3.1.0", "paths": paths}))?;
///
/// let unmet = Expectation::new("orders", "catalog").with(&PRICE).check(&catalog).unwrap_err();
/// assert!(unmet.to_string().contains("`price_cents` may be missing"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Expectation {
    caller: String,
    service: String,
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
    strange: Vec<String>,
}

/// What one service needs of another is not described there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unmet {
    /// What is described is not what the caller needs.
    #[non_exhaustive]
    Breaking {
        /// Who calls.
        caller: String,
        /// Who is called.
        service: String,
        /// What is not there: `old` is what the caller needs, `new` what is described.
        comparison: Comparison,
    },
    /// One of the operations belongs to another service.
    #[non_exhaustive]
    Elsewhere {
        /// The service that was expected.
        service: String,
        /// The operation.
        operation: String,
    },
    /// A description can't be read.
    Unreadable(#[from] Unreadable),
}

impl Expectation {
    /// What `caller` needs of `service`: nothing yet.
    #[must_use]
    pub fn new(caller: impl Into<String>, service: impl Into<String>) -> Self {
        Self {
            caller: caller.into(),
            service: service.into(),
            paths: Map::new(),
            schemas: Map::new(),
            strange: Vec::new(),
        }
    }

    /// And this operation.
    #[must_use]
    pub fn with<Q, A>(mut self, operation: &Operation<Q, A>) -> Self
    where
        Q: ToSchema + 'static,
        A: ToSchema + 'static,
    {
        if operation.service() != self.service {
            self.strange.push(format!("{operation:?}"));
        }
        let in_path = operation.path().split('{').skip(1).filter_map(|rest| rest.split_once('}'));
        let in_path = in_path.map(|(name, _)| json!({"name": name, "in": "path", "required": true}));
        let in_query = operation.query_names().iter().map(|name| json!({"name": name, "in": "query"}));
        let mut described = json!({
            "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
            // The client reads every success alike.
            "responses": {"2XX": {}},
        });
        if let Some(body) = self.content::<Q>() {
            described["requestBody"] = json!({"required": true, "content": body});
        }
        if let Some(body) = self.content::<A>() {
            described["responses"]["2XX"]["content"] = body;
        }
        let path = self.paths.entry(operation.path()).or_insert_with(|| json!({}));
        path[operation.method().as_str().to_ascii_lowercase()] = described;
        self
    }

    /// As a description of the service, such as its caller needs it.
    ///
    /// # Errors
    /// Where a schema of a type is more than what is read.
    pub fn document(&self) -> Result<Document, Unreadable> {
        Document::new(json!({
            "openapi": "3.1.0",
            "info": {"title": self.service, "version": "1"},
            "paths": self.paths,
            "components": {"schemas": self.schemas},
        }))
    }

    /// Holds it against the description of the service.
    ///
    /// # Errors
    /// What the caller needs and the description doesn't have.
    pub fn check(&self, description: &Document) -> Result<(), Unmet> {
        if let Some(operation) = self.strange.first().cloned() {
            return Err(Unmet::Elsewhere { service: self.service.clone(), operation });
        }
        let comparison = compare(&self.document()?, description)?;
        if comparison.is_compatible() {
            return Ok(());
        }
        let (caller, service) = (self.caller.clone(), self.service.clone());
        Err(Unmet::Breaking { caller, service, comparison })
    }

    /// JSON of the type `T`; none for `()`.
    fn content<T: ToSchema + 'static>(&mut self) -> Option<Value> {
        if std::any::TypeId::of::<T>() == std::any::TypeId::of::<()>() {
            return None;
        }
        let mut schemas = Vec::new();
        T::schemas(&mut schemas);
        self.schemas.extend(schemas.into_iter().map(|(name, schema)| (name, json!(schema))));
        Some(json!({"application/json": {"schema": <T as PartialSchema>::schema()}}))
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Breaking { caller, service, comparison } => {
                write!(f, "`{service}` is not described as `{caller}` calls it:")?;
                // Here `old` is what is needed, and what else there is doesn't matter.
                comparison.breaking.iter().try_for_each(|change| write!(f, "\n{change}"))
            }
            Self::Elsewhere { service, operation } => {
                write!(f, "{operation} is no operation of `{service}`")
            }
            Self::Unreadable(_) => f.write_str("a description can't be read"),
        }
    }
}
