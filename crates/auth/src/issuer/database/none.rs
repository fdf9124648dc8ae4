//! There is no database in this program.

use super::{config, store::Failure};

#[derive(Debug, Clone)]
pub(super) enum Database {}

#[derive(Debug, Clone, Copy)]
#[expect(dead_code, reason = "nobody is there to read them")]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(u64),
}

impl Database {
    pub(super) async fn open(_: &config::Store) -> Result<Self, Failure> {
        Err(Failure::new("this program was compiled without databases"))
    }

    pub(super) async fn change(&self, _: &'static str, _: &[Value<'_>]) -> Result<u64, Failure> {
        match *self {}
    }

    pub(super) async fn rows(&self, _: &'static str, _: &[Value<'_>]) -> Result<Vec<Vec<String>>, Failure> {
        match *self {}
    }

    pub(super) fn has_row_locks(&self) -> bool {
        match *self {}
    }
}
