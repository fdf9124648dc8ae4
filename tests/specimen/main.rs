//! The service that the process tests look at from outside: one route for each way in which a peer or a handler can
//! be slow, stuck or broken.

mod grpc;
mod http;
mod ready;
mod work;

use mainstay::{
    Host, Service,
    auth::{Methods, Require, policy::PolicyLayer},
    axum::{Router, routing::get},
    config::figment::providers::Serialized,
};
use tower_layer::Layer as _;

#[tokio::main]
async fn main() -> mainstay::Result<()> {
    let name = std::env::var("SPECIMEN_NAME").unwrap_or_else(|_| "specimen".to_owned());
    let routes = http::routes().merge(work::routes());
    let who_may =
        Methods::new().method("Fail", Require::scope("specimen:write")).others(Require::authenticated());
    let echo = who_may.layer(grpc::echo());
    let specimen = Service::from_fn(name, move |context| {
        let specimen = context.service().http(routes).grpc(echo).descriptors(grpc::DESCRIPTORS);
        let specimen = specimen.http(ready::routes()).check(ready::check()).public_http(http::public());
        // Only tests of policies configure some.
        let Ok(policies) = context.policies() else { return Ok(specimen) };
        let asked = PolicyLayer::new(policies.clone(), "specimen");
        Ok(specimen.http(Router::new().route("/reports", get(async || "reports").layer(asked))))
    });
    // Whoever tests it has no token, unless the test configures an issuer.
    let for_everybody = Serialized::default("auth.required", false);
    let host =
        Host::new().load_with(|loader| loader.named_source("the default of the specimen", for_everybody));
    host.service(specimen).run().await
}
