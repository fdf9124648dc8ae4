//! `/orders`.

use mainstay::{
    Error, Result,
    auth::Require,
    axum::{
        self,
        extract::State,
        http::{HeaderName, StatusCode, header},
        response::IntoResponse,
    },
    error::Kind,
    extract::{Json, Path, Query},
    lifecycle::Drain,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt as _},
    routes,
};

use super::{
    order::{Basket, Order},
    placing::Placing,
};
use crate::interfaces;

pub(super) fn routes(placing: Placing) -> OpenApiRouter {
    interfaces::router()
        .routes(routes!(list).layer(Require::scope("orders:read")))
        .routes(routes!(place).layer(Require::scope("orders:write")))
        .routes(routes!(events).layer(Require::scope("orders:read")))
        .routes(routes!(show).layer(Require::scope("orders:read")))
        .with_state(placing)
}

/// Places an order: it is paid and its stock is reserved, or nothing has happened.
#[utoipa::path(
    post,
    path = "/orders",
    responses(
        (status = 201, description = "placed and paid", body = Order, headers(("location" = String))),
        (status = 404, description = "there is no such product"),
        (status = 409, description = "there is not enough of it"),
        (status = 422, description = "the order is not complete, or the payment was declined"),
    ),
)]
async fn place(
    State(placing): State<Placing>,
    Json(basket): Json<Basket>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Order>)> {
    let order = placing.place(basket).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/orders/{}", order.id))], Json(order)))
}

/// An order.
#[utoipa::path(
    get,
    path = "/orders/{id}",
    responses((status = 200, description = "it", body = Order), (status = 404, description = "there is none")),
)]
async fn show(State(placing): State<Placing>, Path(id): Path<String>) -> Result<Json<Order>> {
    let missing = || Error::new(Kind::NotFound).with_detail(format!("there is no order `{id}`"));
    Ok(Json(placing.store.find(&id).await?.ok_or_else(missing)?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
struct Page {
    /// How many, at most.
    #[param(minimum = 1, maximum = 100, default = 20, required = false)]
    limit: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 20 }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = orders::List)]
struct List {
    orders: Vec<Order>,
}

/// The latest orders.
#[utoipa::path(get, path = "/orders", params(Page), responses((status = 200, description = "newest first", body = List)))]
async fn list(State(placing): State<Placing>, Query(page): Query<Page>) -> Result<Json<List>> {
    if !(1..=100).contains(&page.limit) {
        return Err(Error::invalid("limit", "1 to 100"));
    }
    Ok(Json(List { orders: placing.store.latest(page.limit).await? }))
}

/// What happens to orders, from now on.
#[utoipa::path(
    get,
    path = "/orders/events",
    responses((status = 200, description = "a stream that ends with `bye`", body = String, content_type = "text/event-stream")),
)]
async fn events(State(placing): State<Placing>, drain: Drain) -> impl IntoResponse {
    placing.changes.stream(drain)
}
