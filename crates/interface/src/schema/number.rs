//! Numbers of JSON: integers are compared exactly, others as doubles.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Which is larger.
pub(super) fn order(one: &Number, other: &Number) -> Ordering {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => double(one).total_cmp(&double(other)),
    }
}

/// Whether it has no fraction: `1.0` is an integer (JSON Schema Core, section 4.2.3).
pub(super) fn is_integer(number: &Number) -> bool {
    integer(number).is_some() || double(number).fract() == 0.0
}

/// Whether `number` is a whole multiple of `of`.
pub(super) fn is_multiple(number: &Number, of: &Number) -> bool {
    match (integer(number), integer(of)) {
        (Some(number), Some(of)) => of != 0 && number % of == 0,
        _ => {
            let ratio = double(number) / double(of);
            ratio.is_finite() && ratio.fract() == 0.0
        }
    }
}

/// Whether two values are the same one: `1` and `1.0` are.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => order(one, other) == Ordering::Equal,
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        (one, other) => one == other,
    }
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn double(number: &Number) -> f64 {
    // A zero has no sign here.
    number.as_f64().unwrap_or(f64::INFINITY) + 0.0
}
