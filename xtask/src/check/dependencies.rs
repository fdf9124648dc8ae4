//! How much a hello service compiles.

use crate::{
    process::{Failure, Result},
    workspace::{Reach, compiled},
};

const SMALLEST_SERVICE: &str = "hello";

/// A bare axum service of the same kind compiles 49.
const AT_MOST: usize = 110;

/// Counts the crates that `examples/hello` compiles, itself included.
pub(super) fn check() -> Result {
    let crates = compiled(&[SMALLEST_SERVICE], Reach::Default)?;
    eprintln!("examples/{SMALLEST_SERVICE} compiles {} crates, of {AT_MOST} that it may", crates.len());
    verdict(crates.len())
}

fn verdict(count: usize) -> Result {
    if count <= AT_MOST {
        return Ok(());
    }
    Err(Failure::new(format!(
        "examples/{SMALLEST_SERVICE} compiles {count} crates, and may compile {AT_MOST}: put what is new behind a \
         feature that is off by default (`cargo tree -p {SMALLEST_SERVICE} -e normal,build` shows who wants what)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_allowed_and_one_more_is_not() {
        assert!(verdict(AT_MOST).is_ok());
        let failure = verdict(AT_MOST + 1).unwrap_err().to_string();
        assert!(failure.contains("compiles 111 crates, and may compile 110"), "{failure}");
    }
}
