//! What services promise each other over HTTP: descriptions, kept promises, and what callers rely on.
//!
//! | type | is |
//! |---|---|
//! | [`Document`] | a description (OpenAPI 3) |
//! | [`compare`] | what of a new one breaks callers |
//! | [`Stored`] | the descriptions in the repository, for a test that finds changes |
//! | [`Expectation`] | what one service needs of another, by the operations it calls |
//! | [`Exchange`] | a request and its answer, to be held against a description |
//!
//! A service gets its description by [`Service::openapi`](crate::Service::openapi).

mod complete;
mod expectation;
mod merge;
mod routes;
mod stored;

use std::fmt;

use axum::{Json, Router, routing::get};
pub use mainstay_interface::{Change, Comparison, Document, Exchange, Mismatch, Unreadable, compare};

pub use expectation::{Expectation, Unmet};
pub use stored::{Drift, Stored};

/// What a service was given as its description.
#[derive(Debug, Default)]
pub(crate) struct Given {
    descriptions: Vec<Result<Document, Unreadable>>,
    public: Option<String>,
}

/// The description of a service does not fit the service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Misdescribed {
    /// It can't be read.
    #[error("its description can't be read")]
    Unreadable(#[from] Unreadable),
    /// Two of the descriptions that it was given speak of the same thing.
    #[error("two of its descriptions say different things at {0}")]
    Twice(String),
    /// The path where the public is to read it is none, or has a route already.
    #[error(
        "`{0}` can't be where its description is read: expected a path that begins with `/`, has no parameters and no route"
    )]
    Public(String),
    /// It is not what the service has routes for.
    #[error("its description and its routes differ: {0}")]
    Routes(Differences),
}

/// Operations that are in one of description and routes only, such as `GET /orders/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Differences {
    /// Those that no route leads to.
    pub not_routed: Vec<String>,
    /// Those that the description lacks.
    pub not_described: Vec<String>,
}

impl Given {
    pub(crate) fn add(&mut self, description: Result<Document, Unreadable>) {
        self.descriptions.push(description);
    }

    pub(crate) fn publish(&mut self, path: String) {
        self.public = Some(path);
    }

    /// The description of the service `name` with what the stack answers, held against its routes; `None` where none
    /// was given. Adds to `public` the route by which the public may read it, if there is to be one.
    pub(crate) fn complete(
        self,
        name: &str,
        routes: &Router,
        public: &mut Router,
    ) -> Result<Option<Document>, Misdescribed> {
        let mut all = self.descriptions.into_iter();
        let Some(first) = all.next() else { return Ok(None) };
        let mut whole = first?.into_value();
        for description in all {
            merge::into(&mut whole, description?.into_value())?;
        }
        let description = Document::new(complete::with_the_stack(whole, name))?;
        let routes = routes::of(routes);
        match &routes {
            Some(routes) => {
                let differences = routes.differences(&description.operations()?);
                if differences != Differences::default() {
                    return Err(Misdescribed::Routes(differences));
                }
            }
            None => tracing::warn!(
                service = name,
                "this version of axum does not show its routes: they are not held against the description"
            ),
        }
        if let Some(path) = self.public {
            let is_plain = path.starts_with('/') && !path.contains(['{', '}', ':', '*']);
            if !is_plain || routes.is_some_and(|routes| routes.has(&path, "GET")) {
                return Err(Misdescribed::Public(path));
            }
            let value = description.as_value().clone();
            let show = get(async move || Json(value.clone()));
            *public = std::mem::take(public).route(&path, show);
        }
        Ok(Some(description))
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (what, operations) in [
            ("described and not routed", &self.not_routed),
            ("routed and not described", &self.not_described),
        ] {
            if !operations.is_empty() {
                write!(f, "{separator}{} {what}", operations.join(", "))?;
                separator = "; ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
