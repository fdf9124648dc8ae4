//! `/orders`.

use mainstay::{
    Error, Result,
    axum::{
        Router,
        extract::State,
        http::{HeaderName, StatusCode, header},
        response::IntoResponse,
        routing::get,
    },
    error::Kind,
    extract::{Json, Path, Query},
    lifecycle::Drain,
};
use serde::{Deserialize, Serialize};

use super::{
    order::{Basket, Order},
    placing::Placing,
};

pub(super) fn routes(placing: Placing) -> Router {
    Router::new()
        .route("/orders", get(list).post(place))
        .route("/orders/events", get(events))
        .route("/orders/{id}", get(show))
        .with_state(placing)
}

async fn place(
    State(placing): State<Placing>,
    Json(basket): Json<Basket>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Order>)> {
    let order = placing.place(basket).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/orders/{}", order.id))], Json(order)))
}

async fn show(State(placing): State<Placing>, Path(id): Path<String>) -> Result<Json<Order>> {
    let missing = || Error::new(Kind::NotFound).with_detail(format!("there is no order `{id}`"));
    Ok(Json(placing.store.find(&id).await?.ok_or_else(missing)?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Page {
    /// 1 to 100.
    limit: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 20 }
    }
}

#[derive(Debug, Serialize)]
struct List {
    orders: Vec<Order>,
}

async fn list(State(placing): State<Placing>, Query(page): Query<Page>) -> Result<Json<List>> {
    if !(1..=100).contains(&page.limit) {
        return Err(Error::invalid("limit", "1 to 100"));
    }
    Ok(Json(List { orders: placing.store.latest(page.limit).await? }))
}

async fn events(State(placing): State<Placing>, drain: Drain) -> impl IntoResponse {
    placing.changes.stream(drain)
}
