//! What the services promise each other over HTTP. Their descriptions are kept in `openapi/`, written by
//! `cargo run -p shop -- --export-openapi examples/shop/openapi`.

use utoipa::openapi::{Info, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

/// A router for handlers that describe themselves.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(Info::new("shop", "1")).build())
}

#[cfg(test)]
pub(crate) mod tests {
    use mainstay::{
        Host, Service,
        axum::{
            self, Json,
            body::{Body, to_bytes},
            http::Request,
        },
        config::Loader,
        interface::{Document, Exchange, Expectation, Stored},
    };
    use serde::Serialize;
    use serde_json::Value;
    use tower::ServiceExt;
    use utoipa::ToSchema;
    use utoipa_axum::routes;

    use super::*;
    use crate::{
        catalog::PRICE,
        payments::{PAY, TAKE_BACK},
        shop,
    };

    /// Calls a handler; what is sent and answered has to be as it is described.
    pub(crate) async fn exchange(
        routes: OpenApiRouter,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let (router, description) = routes.split_for_parts();
        let service = Service::new("subject").http(router.clone()).openapi(description);
        let descriptions = quiet(Host::new().service(service)).descriptions().unwrap();

        let json = "application/json";
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header("content-type", json);
        }
        let bytes = body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let answer = router.oneshot(request.body(bytes).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        let answered = to_bytes(answer.into_body(), 10_000).await.unwrap();
        let answered: Value = serde_json::from_slice(&answered).unwrap_or_default();

        let exchange = Exchange {
            method,
            path,
            request: body.as_ref().map(|body| (json, body)),
            status,
            answer: kind.as_deref().map(|kind| (kind, &answered)),
        };
        let mismatches = descriptions["subject"].mismatches(&exchange).unwrap();
        assert!(mismatches.is_empty(), "{mismatches:?}");
        (status, answered)
    }

    fn stored() -> Stored {
        Stored::new(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi"))
    }

    /// Not configured by whatever lies about here.
    fn quiet(host: Host) -> Host {
        host.load_with(|_| Loader::new().directory("/nonexistent").profile("dev"))
    }

    #[tokio::test]
    async fn the_services_keep_what_their_stored_descriptions_promise() {
        stored().check(&quiet(shop()).descriptions().unwrap()).unwrap_or_else(|drift| panic!("{drift}"));
    }

    fn check_orders(catalog: &Document, payments: &Document) -> Result<(), String> {
        let needs_prices = Expectation::new("orders", "catalog").with(&PRICE);
        let needs_payments = Expectation::new("orders", "payments").with(&PAY).with(&TAKE_BACK);
        needs_prices.check(catalog).map_err(|unmet| unmet.to_string())?;
        needs_payments.check(payments).map_err(|unmet| unmet.to_string())
    }

    #[test]
    fn orders_calls_the_others_as_they_describe_themselves() {
        let read = |service| stored().read(service).unwrap_or_else(|drift| panic!("{drift}"));
        check_orders(&read("catalog"), &read("payments")).unwrap_or_else(|unmet| panic!("{unmet}"));
    }

    /// Somebody had a better name for the price.
    #[derive(Serialize, ToSchema)]
    struct Product {
        sku: String,
        name: String,
        price: u32,
    }

    #[derive(Serialize, ToSchema)]
    struct List {
        products: Vec<Product>,
    }

    #[utoipa::path(get, path = "/products", responses((status = 200, body = List)))]
    async fn list() -> Json<List> {
        Json(List { products: Vec::new() })
    }

    #[utoipa::path(get, path = "/products/{sku}", responses((status = 200, body = Product)))]
    async fn show() -> Json<Product> {
        Json(Product { sku: String::new(), name: String::new(), price: 1 })
    }

    #[tokio::test]
    async fn a_handler_that_changes_its_interface_is_found_by_both_tests() {
        let (routes, description) = router().routes(routes!(list)).routes(routes!(show)).split_for_parts();
        let catalog = Service::new("catalog").http(routes).openapi(description);
        let changed = quiet(Host::new().service(catalog)).descriptions().unwrap();

        let drift = stored().check(&changed).unwrap_err();
        let breaking: Vec<String> = drift.breaking["catalog"]
            .breaking
            .iter()
            .map(|change| format!("{}: {}", change.place, change.why))
            .collect();
        assert_eq!(
            breaking,
            [
                "GET /products, answer 200 application/json, `products[].price_cents`: `price_cents` may be missing",
                "GET /products/{sku}, answer 200 application/json, `price_cents`: `price_cents` may be missing",
            ]
        );
        let payments = stored().read("payments").unwrap();
        let unmet = check_orders(&changed["catalog"], &payments).unwrap_err();
        assert!(
            unmet.starts_with("`catalog` is not described as `orders` calls it:\nGET /products/{sku}"),
            "{unmet}"
        );
    }
}
