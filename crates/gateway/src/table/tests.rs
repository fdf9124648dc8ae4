//! Which route takes what.

use super::*;
use crate::config::{self, Config};

fn route(spec: &str) -> config::Route {
    // `[METHODS] [host]/path[…]`, an ellipsis at the end for a prefix.
    let (methods, rest) = spec.split_once(' ').unwrap_or(("", spec));
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let mut route = match path.strip_suffix('…') {
        Some(prefix) => config::Route::prefix(prefix, "service"),
        None => config::Route::path(path, "service"),
    };
    route.methods = methods.split(',').filter(|method| !method.is_empty()).map(str::to_owned).collect();
    route.hosts = Some(host.to_owned()).filter(|host| !host.is_empty()).into_iter().collect();
    route
}

fn config(specs: &[&str]) -> Config {
    specs.iter().fold(Config::default(), |config, spec| config.with_route(*spec, route(spec)))
}

/// The route for `request`, written as `METHOD host/path`.
fn found(table: &Table, request: &str) -> Result<String, NoRoute> {
    let (method, rest) = request.split_once(' ').unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let host = Some(host).filter(|host| !host.is_empty());
    let found = table.find(host, path, &Method::from_bytes(method.as_bytes()).unwrap());
    found.map(|route| route.name.to_string())
}

#[test]
fn the_most_specific_route_wins_whatever_the_order() {
    let specs = [
        "/…",
        "/orders…",
        "/orders/{id}",
        "/orders/latest",
        "/orders/{id}/items…",
        "/orders/latest/items",
        "POST /orders/{id}",
        "api.example/orders…",
        "*.example/orders/latest",
        "*.deep.example/…",
    ];
    let table = Table::compile(&config(&specs)).unwrap();
    for (request, expected) in [
        ("GET /", "/…"),
        ("GET /ordersheet", "/…"),
        ("GET /orders", "/orders…"),
        ("GET /orders/", "/orders…"),
        ("GET /orders/7", "/orders/{id}"),
        ("POST /orders/7", "POST /orders/{id}"),
        ("GET /orders/latest", "/orders/latest"),
        ("GET /orders/l%61test", "/orders/latest"),
        ("GET /orders/7/items", "/orders/{id}/items…"),
        ("GET /orders/7/items/3", "/orders/{id}/items…"),
        ("GET /orders/latest/items", "/orders/latest/items"),
        // The literal branch has nothing here, the parameter has.
        ("GET /orders/latest/items/3", "/orders/{id}/items…"),
        ("GET /orders/7/notes", "/orders…"),
        // The host goes before the path.
        ("GET api.example/orders/latest", "api.example/orders…"),
        ("GET API.Example:8080/orders/latest", "api.example/orders…"),
        ("GET www.example/orders/latest", "*.example/orders/latest"),
        ("GET a.deep.example/orders/latest", "*.deep.example/…"),
        // What the host's routes don't take goes to those of any host.
        ("GET api.example/x", "/…"),
        ("GET example/orders/latest", "/orders/latest"),
    ] {
        assert_eq!(found(&table, request).as_deref(), Ok(expected), "{request}");
    }
}

#[test]
fn a_parameter_is_one_segment_that_is_not_empty() {
    let table = Table::compile(&config(&["/a/{id}/b"])).unwrap();
    assert!(found(&table, "GET /a/1/b").is_ok());
    assert!(found(&table, "GET /a/x%2Fy/b").is_ok());
    for path in ["/a//b", "/a/1/2/b", "/a/1/b/", "/a/1"] {
        assert_eq!(found(&table, &format!("GET {path}")), Err(NoRoute::Path), "{path}");
    }
}

#[test]
fn a_method_that_no_route_takes_is_told_from_a_path_that_none_has() {
    let table = Table::compile(&config(&["GET,PUT /a", "POST /a", "GET /b…"])).unwrap();
    let allowed = |request| match found(&table, request) {
        Err(NoRoute::Method(methods)) => methods.iter().map(Method::to_string).collect::<Vec<_>>().join(" "),
        other => panic!("{other:?}"),
    };
    assert_eq!(allowed("DELETE /a"), "GET HEAD POST PUT");
    assert_eq!(allowed("POST /b/c"), "GET HEAD");
    assert_eq!(found(&table, "HEAD /a").as_deref(), Ok("GET,PUT /a"));
    assert_eq!(found(&table, "GET /c"), Err(NoRoute::Path));
}

#[test]
fn head_goes_to_the_route_that_lists_it() {
    let table = Table::compile(&config(&["GET /a", "HEAD /a"])).unwrap();
    assert_eq!(found(&table, "HEAD /a").as_deref(), Ok("HEAD /a"));
}

#[test]
fn two_routes_for_the_same_requests_are_refused_by_name() {
    for (one, two) in [
        ("/a", "/%61"),
        ("/a/{x}", "/a/{y}"),
        ("/a…", "/a/…"),
        ("GET,PUT /a", "PUT,POST /a"),
        ("h.example/a", "H.example/a"),
    ] {
        let error = Table::compile(&config(&[one, two])).unwrap_err().to_string();
        assert!(error.contains(&format!("`{one}`")) || error.contains(&format!("`{two}`")), "{error}");
        assert!(
            error.contains(&format!("routes.{one}")) || error.contains(&format!("routes.{two}")),
            "{error}"
        );
    }
    for (one, two) in
        [("/a", "/a…"), ("GET /a", "PUT /a"), ("GET /a", "/a"), ("h.example/a", "/a"), ("/a", "/A")]
    {
        assert!(Table::compile(&config(&[one, two])).is_ok(), "{one} {two}");
    }
}

#[test]
fn every_fault_is_reported_with_its_key() {
    let mut both = config::Route::path("/a", "orders");
    both.prefix = Some("/a".to_owned());
    let mut many = config::Route::path("a", "Orders_1");
    many.methods = vec!["get".to_owned(), "TRACE".to_owned()];
    many.hosts = vec!["http://a".to_owned()];
    many.timeout = Some(mainstay_core::config::Duration::ZERO);
    let mut strip = config::Route::path("/s", "orders");
    strip.strip_prefix = true;
    let mut rewrite = config::Route::path("/r/{id}", "orders");
    rewrite.rewrite = Some("/x/{name}".to_owned());
    let config = Config::default()
        .with_route("both", both)
        .with_route("many", many)
        .with_route("neither", config::Route { service: "orders".to_owned(), ..config::Route::default() })
        .with_route("rewrite", rewrite)
        .with_route("strip", strip);
    let faults = Table::compile(&config).unwrap_err().faults;
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "routes.both",
            "routes.many.path",
            "routes.many.hosts",
            "routes.many.methods",
            "routes.many.methods",
            "routes.many.service",
            "routes.many.timeout",
            "routes.neither",
            "routes.rewrite.rewrite",
            "routes.strip.strip_prefix",
        ]
    );
}
