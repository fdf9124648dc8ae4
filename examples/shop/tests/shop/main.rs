//! The shop from outside: the real binary, as one process, as one whose services call each other over real bytes, and
//! as four.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test fails where its helpers do, and spawns"
)]

mod alerts;
mod moving;
mod process;
mod providers;
mod same;
mod shop;
mod suite;

/// What tonic generates from `proto/inventory.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod proto {
    tonic::include_proto!("shop.inventory.v1");
}

use process::{Process, set};
use shop::{Shape, Shop};
use suite::LUCKY;

/// Runs each test of the suite in each shape.
macro_rules! in_every_shape {
    ($($shape:ident = $is:expr),* ; $tests:tt) => { $( in_every_shape!(@ $shape $is; $tests); )* };
    (@ $shape:ident $is:expr; { $($test:ident)* }) => {
        mod $shape {
            use crate::{shop::Shape, suite};

            $(
                #[tokio::test]
                async fn $test() {
                    suite::$test($is).await;
                }
            )*
        }
    };
}

in_every_shape! {
    as_one_process = Shape::One, as_one_process_over_the_wire = Shape::Wire, as_four_processes = Shape::Four;
    {
        the_printed_requests_work
        what_is_wrong_is_told
        a_payment_that_fails_leaves_nothing_behind
        a_rush_never_sells_what_is_not_there
        an_order_that_was_cut_by_a_crash_is_undone
        the_routes_that_misbehave_are_there_only_when_asked_for
    }
}

#[tokio::test]
async fn with_payments_down_the_stock_is_back_at_once() {
    let mut shop = Shop::open(Shape::Four, &[LUCKY]);
    shop.kill_payments();
    shop.order("globe", 2, "tok_visa").await.is_problem(503, "the payment did not go through");
    assert_eq!(shop.stock("globe").await, 3);
    // Whether something was paid is not known yet, so the order is not over.
    let orders = shop.get("/orders").await.json;
    assert_eq!(orders["orders"][0]["status"], "pending", "{orders}");
    shop.close();
}

#[test]
fn a_wrong_configuration_ends_with_78_and_every_error() {
    let wrong = [
        ("app.payments.failure_rate", "2.0"),
        ("app.payments.delay", "5x"),
        ("app.gateway.edge.routes.twin.prefix", "/orders"),
        ("app.gateway.edge.routes.twin.service", "other"),
        ("app.inventory.stoc", "1"),
    ];
    let (status, output) = Process::shop(&set(&wrong)).wait();
    assert_eq!(status.code(), Some(78), "{output}");
    for key in
        ["app.payments.delay", "app.gateway.edge.routes.twin", "the route `orders`", "app.inventory.stoc"]
    {
        assert!(output.contains(key), "no {key} in:\n{output}");
    }
}
