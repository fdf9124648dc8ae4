//! What there is to buy. Everybody may read it.

use mainstay::{
    Error, Result, Service,
    axum::{self, Json},
    client::Operation,
    error::Kind,
    extract::Path,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::interfaces;

/// A product, as it goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Product {
    sku: &'static str,
    name: &'static str,
    /// Of one.
    price_cents: u32,
}

/// What an order needs to know of a product.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub(crate) struct Price {
    pub(crate) price_cents: u32,
}

/// What a product costs, for other services.
pub(crate) const PRICE: Operation<(), Price> = Operation::get("catalog", "/products/{sku}").answers();

const PRODUCTS: [Product; 4] = [
    Product { sku: "globe", name: "A globe of the moon", price_cents: 12_900 },
    Product { sku: "kettle", name: "An enamel kettle", price_cents: 4_450 },
    Product { sku: "lamp", name: "A brass desk lamp", price_cents: 8_900 },
    Product { sku: "mug", name: "A stoneware mug", price_cents: 1_250 },
];

/// The service `catalog`.
pub(crate) fn service() -> Service {
    let (routes, description) = routes().split_for_parts();
    Service::new("catalog").public_http(routes).openapi(description)
}

fn routes() -> OpenApiRouter {
    interfaces::router().routes(routes!(list)).routes(routes!(show))
}

#[derive(Serialize, ToSchema)]
struct List {
    products: Vec<Product>,
}

/// All there is to buy.
#[utoipa::path(get, path = "/products", responses((status = 200, description = "all of them", body = List)))]
async fn list() -> Json<List> {
    Json(List { products: PRODUCTS.to_vec() })
}

/// One product.
#[utoipa::path(
    get,
    path = "/products/{sku}",
    responses((status = 200, description = "it", body = Product), (status = 404, description = "there is none")),
)]
async fn show(Path(sku): Path<String>) -> Result<Json<Product>> {
    let product = PRODUCTS.iter().find(|product| product.sku == sku);
    let missing = || Error::new(Kind::NotFound).with_detail(format!("there is no product `{sku}`"));
    Ok(Json(*product.ok_or_else(missing)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::tests::exchange;

    async fn get(path: &str) -> (u16, serde_json::Value) {
        exchange(routes(), "GET", path, None).await
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
