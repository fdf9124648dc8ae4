//! What a decision by policies costs, with few policies and many.
//!
//! ```text
//! cargo run --release -p mainstay-auth --features policy --example decide
//! ```
//! Nanoseconds a decision, the median of rounds. "By role": each policy is for a role of its own, the principal
//! has two of them. "By action": a tenth of the policies for each of ten actions. "Any": each policy could match by its scope.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{error::Error, hint::black_box, time::Duration};

use mainstay_auth::policy::{Caller, Config, Policies, Question, Resource};
use tokio::time::Instant;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    // With a number it only decides so often: the difference of two such runs under `valgrind` is what decisions allocate.
    let only = std::env::args().nth(1).map(|text| text.parse::<u64>()).transpose()?;
    println!("{:10} {:>9} {:>12}", "", "policies", "ns");
    for (name, policy) in
        [("by role", by_role as fn(usize) -> String), ("by action", by_action), ("any", any)]
    {
        for count in [10, 100, 1000] {
            let text: String = (0..count).map(policy).collect();
            let policies = Policies::read(&Config::new(schema(), text).with_issuer("https://id.example"))?;
            let caller = Caller::user("https://id.example", "5f0c7f3e-3a7e-4a57-9a34-1d3c5b1f9a10");
            let caller = caller.with_scope("orders:read").with_scope("orders:write").with_role("role3");
            let principal = caller.with_role("role7").into_principal();
            let order = Resource::new("Order", "7").with("owner", "alice").with("total", 12);
            let question = Question::new(&principal, "GET /orders/3/{id}", &order);
            assert!(policies.decide(&question).is_permitted());
            if let Some(times) = only {
                for _ in 0..times {
                    black_box(policies.decide(black_box(&question)));
                }
                return Ok(());
            }
            let median = median(|| policies.decide(black_box(&question)).is_permitted());
            println!("{name:10} {count:9} {median:12}");
        }
    }
    Ok(())
}

fn schema() -> String {
    let actions = (0..10).map(|number| {
        format!("action \"GET /orders/{number}/{{id}}\" appliesTo {{ principal: User, resource: Order }};\n")
    });
    let entities = "entity Role;
        entity User in [Role] { issuer: String, subject: String, client?: String, scopes: Set<String>, roles: Set<String> };
        entity Order { owner: String, total: Long };\n";
    actions.fold(entities.to_owned(), |all, action| all + &action)
}

fn by_role(number: usize) -> String {
    format!(
        "permit(principal in Role::\"role{number}\", action, resource) when {{ resource.total < 100 }};\n"
    )
}

fn by_action(number: usize) -> String {
    let action = number % 10;
    format!(
        "permit(principal, action == Action::\"GET /orders/{action}/{{id}}\", resource) when {{ resource.total < 100 }};\n"
    )
}

fn any(number: usize) -> String {
    format!("permit(principal, action, resource) when {{ resource.total < 100 && {number} >= 0 }};\n")
}

fn median(mut work: impl FnMut() -> bool) -> u128 {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let (begin, mut count) = (Instant::now(), 0_u32);
            while begin.elapsed() < ROUND {
                for _ in 0..8 {
                    assert!(black_box(work()));
                }
                count += 8;
            }
            begin.elapsed().as_nanos() / u128::from(count)
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}
