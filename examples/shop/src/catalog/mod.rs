//! What there is to buy. Everybody may read it.

use mainstay::{
    Error, Result, Service,
    axum::{Json, Router, routing::get},
    error::Kind,
    extract::Path,
};
use serde::{Deserialize, Serialize};

/// A product, as it goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Product {
    sku: &'static str,
    name: &'static str,
    price_cents: u32,
}

/// What an order needs to know of a product.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Price {
    pub(crate) price_cents: u32,
}

const PRODUCTS: [Product; 4] = [
    Product { sku: "globe", name: "A globe of the moon", price_cents: 12_900 },
    Product { sku: "kettle", name: "An enamel kettle", price_cents: 4_450 },
    Product { sku: "lamp", name: "A brass desk lamp", price_cents: 8_900 },
    Product { sku: "mug", name: "A stoneware mug", price_cents: 1_250 },
];

/// The service `catalog`.
pub(crate) fn service() -> Service {
    Service::new("catalog").http(routes())
}

fn routes() -> Router {
    Router::new().route("/products", get(list)).route("/products/{sku}", get(show))
}

#[derive(Serialize)]
struct List {
    products: &'static [Product],
}

async fn list() -> Json<List> {
    Json(List { products: &PRODUCTS })
}

async fn show(Path(sku): Path<String>) -> Result<Json<Product>> {
    let product = PRODUCTS.iter().find(|product| product.sku == sku);
    let missing = || Error::new(Kind::NotFound).with_detail(format!("there is no product `{sku}`"));
    Ok(Json(*product.ok_or_else(missing)?))
}

#[cfg(test)]
mod tests {
    use mainstay::axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use tower::ServiceExt;

    use super::*;

    async fn get(path: &str) -> (u16, serde_json::Value) {
        let response = routes().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap())
    }

    #[tokio::test]
    async fn a_product_is_found_in_the_list_and_by_itself() {
        let (status, list) = get("/products").await;
        assert_eq!((status, list["products"].as_array().unwrap().len()), (200, PRODUCTS.len()));
        let (status, mug) = get("/products/mug").await;
        assert_eq!((status, &mug), (200, &list["products"][3]));
        assert_eq!(serde_json::from_value::<Price>(mug).unwrap(), Price { price_cents: 1_250 });
    }

    #[tokio::test]
    async fn an_unknown_product_is_a_problem_that_names_it() {
        let (status, problem) = get("/products/ghost").await;
        assert_eq!((status, problem["detail"].as_str()), (404, Some("there is no product `ghost`")));
    }
}
