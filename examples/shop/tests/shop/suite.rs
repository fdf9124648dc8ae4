//! What the shop does, whatever it runs as.

use std::time::Duration;

use mainstay::axum::http::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    process::Process,
    shop::{Customer, Shape, Shop},
};

/// No bad luck.
pub(crate) const LUCKY: (&str, &str) = ("app.payments.failure_rate", "0.0");

/// The requests that the shop prints, one after the other, by curl.
pub(crate) async fn the_printed_requests_work(shape: Shape) {
    let mut shop = Shop::open(shape, &[LUCKY]);
    let commands = shop.commands();
    let (token, commands): (Vec<_>, Vec<_>) =
        commands.iter().partition(|command| command.starts_with("TOKEN="));
    let (watching, commands): (Vec<_>, Vec<_>) =
        commands.into_iter().partition(|command| command.contains("/orders/events"));
    assert!(
        token.len() == 1 && watching.len() == 1 && commands.len() >= 3,
        "{token:?} {watching:?} {commands:?}"
    );
    let token = token[0];

    // Whoever watches must have begun before there is something to see.
    let mut watching =
        Process::line_after(token, &format!("{} --silent --show-error --verbose --max-time 60", watching[0]));
    watching.find("head of the answer", |line| line.contains("text/event-stream").then_some(()));
    let mut answers = Vec::new();
    for command in commands {
        let (status, output) =
            Process::line_after(token, &format!("{command} --silent --show-error --fail-with-body")).wait();
        assert!(status.success(), "{command}: {status}\n{output}");
        answers
            .push(serde_json::from_str::<Value>(&output).unwrap_or_else(|_| panic!("{command}: {output}")));
    }
    assert_eq!(answers[0]["products"].as_array().unwrap().len(), 4);
    let placed = &answers[1];
    assert_eq!(placed["status"], "paid", "{placed}");
    assert_eq!(placed["total_cents"], 2 * 1_250 + 8_900, "{placed}");
    assert_eq!(&answers[2]["orders"][0], placed, "the order is read back");
    let event = watching.find("event", |line| line.strip_prefix("data: ").map(str::to_owned));
    assert_eq!(serde_json::from_str::<Value>(&event).unwrap()["order"], placed["id"]);

    let id = placed["id"].as_str().unwrap();
    assert_eq!(&shop.get(&format!("/orders/{id}")).await.json, placed);
    assert_eq!(shop.stock("mug").await, 98);

    // The stream is told that the shop closes, and the shop does not wait for it.
    shop.terminate();
    watching.find("good-bye", |line| (line == "event: bye").then_some(()));
    shop.ends_well();
}

/// What a customer does wrong, and what the shop says to it.
pub(crate) async fn what_is_wrong_is_told(shape: Shape) {
    let shop = Shop::open(shape, &[LUCKY]);
    shop.get("/products/ghost").await.is_problem(404, "there is no product `ghost`");
    shop.get("/orders/none").await.is_problem(404, "there is no order `none`");
    shop.get("/nowhere").await.is_problem(404, "no route has this path");
    shop.get("/orders?limit=1000").await.is_problem(422, "");
    shop.call(Method::DELETE, "/products", "").await.is_problem(405, "");
    shop.order("ghost", 1, "tok_visa").await.is_problem(404, "there is no product `ghost`");
    shop.order("globe", 4, "tok_visa")
        .await
        .is_problem(409, "not enough of `globe` in stock: 3 left, 4 wanted");

    let declined = shop.order("globe", 3, "tok_declined").await;
    declined.is_problem(422, "declined");
    assert_eq!(declined.wrong_fields(), ["payment_token"]);
    assert_eq!(shop.stock("globe").await, 3, "what was not paid is back");

    let incomplete = shop.order("MUG!", 0, "tok_visa").await;
    incomplete.is_problem(422, "");
    assert_eq!(incomplete.wrong_fields(), ["items[0].sku", "items[0].quantity"]);
    for (body, status, field) in [
        ("{", 400, None),
        (
            r#"{"items": [{"sku": "mug", "quantity": "two"}], "payment_token": "x"}"#,
            422,
            Some("items[0].quantity"),
        ),
        (r#"{"items": [], "payment_token": "x", "discount": 1}"#, 422, Some("discount")),
    ] {
        let answer = shop.call(Method::POST, "/orders", body).await;
        answer.is_problem(status, "");
        assert!(field.is_none() || answer.wrong_fields() == [field.unwrap()], "{body}: {answer}");
    }
    shop.close();
}

pub(crate) async fn a_payment_that_fails_leaves_nothing_behind(shape: Shape) {
    let bad_luck = [("app.payments.failure_rate", "1.0"), ("app.payments.delay", "1ms")];
    let shop = Shop::open(shape, &bad_luck);
    let answer = shop.order("globe", 2, "tok_visa").await;
    answer.is_problem(503, "the payment did not go through: the order was not placed");
    assert_eq!(shop.stock("globe").await, 3);
    let orders = shop.get("/orders").await.json;
    assert_eq!(orders["orders"][0]["status"], "failed", "{orders}");
    shop.close();
}

/// In the rush.
const CUSTOMERS: usize = 24;

/// Many customers at once, a few pieces, and payments that fail.
pub(crate) async fn a_rush_never_sells_what_is_not_there(shape: Shape) {
    let values = [
        ("app.inventory.stock.mug", "10"),
        ("app.payments.failure_rate", "0.4"),
        ("app.payments.delay", "2ms"),
    ];
    let shop = Shop::open(shape, &values);
    let mut customers = JoinSet::new();
    for _ in 0..CUSTOMERS {
        let customer = Customer::clone(&shop);
        customers.spawn(async move { customer.order("mug", 1, "tok_visa").await });
    }
    let mut paid = 0;
    while let Some(answer) = customers.join_next().await {
        let answer = answer.unwrap();
        match answer.status {
            201 => paid += 1,
            409 | 503 => {}
            _ => panic!("{answer}"),
        }
    }
    assert!((1..=10).contains(&paid), "{paid} sold of 10");
    assert_eq!(shop.stock("mug").await, 10 - paid);
    let orders = shop.get("/orders?limit=100").await.json;
    let orders = orders["orders"].as_array().unwrap();
    let with_status = |status| orders.iter().filter(|order| order["status"] == status).count();
    assert_eq!((with_status("paid"), with_status("failed")), (paid as usize, CUSTOMERS - paid as usize));
    shop.close();
}

pub(crate) async fn an_order_that_was_cut_by_a_crash_is_undone(shape: Shape) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (orders, inventory, payments) = (file("orders.db"), file("inventory.db"), file("payments.db"));
    let files = [
        ("app.orders.database", orders.as_str()),
        ("app.inventory.database", inventory.as_str()),
        ("app.payments.database", payments.as_str()),
        ("app.orders.recover_after", "1s"),
    ];
    let values = |delay| [&files[..], &[LUCKY, ("app.payments.delay", delay)]].concat();

    let shop = Shop::open(shape, &values("1m"));
    let customer = Customer::clone(&shop);
    let order = tokio::spawn(async move { customer.order("globe", 2, "tok_visa").await });
    while shop.stock("globe").await != 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    order.abort();
    shop.kill();

    let shop = Shop::open(shape, &values("1ms"));
    for polls in 0.. {
        let orders = shop.get("/orders").await.json;
        if orders["orders"][0]["status"] == "failed" {
            break;
        }
        assert!(polls < 600, "{orders}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(shop.stock("globe").await, 3);
    shop.close();
}

pub(crate) async fn the_routes_that_misbehave_are_there_only_when_asked_for(shape: Shape) {
    let shop = Shop::open(shape, &[]);
    shop.get("/debug/panic").await.is_problem(404, "");
    shop.close();
    let shop = Shop::open(shape, &[("app.gateway.debug", "true")]);
    assert_eq!(shop.get("/debug/slow?ms=1").await.status, 200);
    shop.get("/debug/panic").await.is_problem(500, "");
    assert_eq!(shop.get("/products").await.status, 200, "a panic costs one request");
    shop.close();
}
