//! What the admin listener says of policies.

use axum::{
    extract::DefaultBodyLimit,
    routing::{MethodRouter, get},
};
use mainstay_core::extract::Json;
use serde_json::{Value, json};

use super::{Description, Policies};

/// The largest question, in bytes.
const LARGEST: usize = 64 << 10;

impl Policies {
    /// For the admin listener (`Admin::with_route`): GET lists the policies in use and says why a change of them is not; POST takes
    /// a [`Description`] as JSON and answers with an [`Explanation`](super::Explanation). Nothing is changed, counted or logged by it.
    pub fn route(&self) -> MethodRouter {
        let (listed, asked) = (self.clone(), self.clone());
        get(async move || Json(listed.listed()))
            .post(async move |Json(question): Json<Description>| Json(asked.explain(&question)))
            .layer(DefaultBodyLimit::max(LARGEST))
    }

    fn listed(&self) -> Value {
        let set = self.0.shared.current.load();
        let [_, actions, entities] = set.size();
        json!({
            "policies": set.policies(),
            "actions": actions,
            "entities": entities,
            "refused": *self.0.shared.refused.borrow(),
        })
    }
}
