use super::{Failure, Kind};
use crate::issuer::database::{
    Database,
    Value::{Number, Text},
};

/// So many records are forgotten by one statement, so that none holds up others for long.
const BATCH: u64 = 1_000;
/// So many such statements follow each other; what is left waits for the next time.
const BATCHES: u32 = 100;

/// Records in a database, for all processes that use it. What happens once does so by one statement.
#[derive(Debug, Clone)]
pub(in crate::issuer) struct Sql(Database);

impl Sql {
    pub(super) fn new(database: Database) -> Self {
        Self(database)
    }

    pub(super) async fn get(&self, kind: Kind, name: &str, now: u64) -> Result<Option<String>, Failure> {
        const GET: &str =
            "SELECT content FROM mainstay_idp_records WHERE kind = $1 AND name = $2 AND ends_at > $3";
        let rows = self.0.rows(GET, &[Text(kind.name()), Text(name), Number(now)]).await?;
        Ok(rows.into_iter().flatten().next())
    }

    pub(super) async fn insert(
        &self,
        kind: Kind,
        name: &str,
        text: &str,
        until: u64,
        now: u64,
    ) -> Result<bool, Failure> {
        // One that has ended is as good as none.
        const INSERT: &str =
            "INSERT INTO mainstay_idp_records (kind, name, content, ends_at) VALUES ($1, $2, $3, $4)
            ON CONFLICT (kind, name) DO UPDATE SET content = excluded.content, ends_at = excluded.ends_at
            WHERE mainstay_idp_records.ends_at <= $5";
        let values = [Text(kind.name()), Text(name), Text(text), Number(until), Number(now)];
        Ok(self.0.change(INSERT, &values).await? == 1)
    }

    pub(super) async fn swap(&self, kind: Kind, name: &str, from: &str, to: &str) -> Result<bool, Failure> {
        const SWAP: &str =
            "UPDATE mainstay_idp_records SET content = $4 WHERE kind = $1 AND name = $2 AND content = $3";
        let values = [Text(kind.name()), Text(name), Text(from), Text(to)];
        Ok(self.0.change(SWAP, &values).await? == 1)
    }

    pub(super) async fn keep(&self, kind: Kind, name: &str, until: u64, now: u64) -> Result<bool, Failure> {
        const KEEP: &str =
            "UPDATE mainstay_idp_records SET ends_at = $3 WHERE kind = $1 AND name = $2 AND ends_at > $4";
        let values = [Text(kind.name()), Text(name), Number(until), Number(now)];
        Ok(self.0.change(KEEP, &values).await? == 1)
    }

    pub(super) async fn put(&self, kind: Kind, name: &str, text: &str, until: u64) -> Result<(), Failure> {
        const PUT: &str =
            "INSERT INTO mainstay_idp_records (kind, name, content, ends_at) VALUES ($1, $2, $3, $4)
            ON CONFLICT (kind, name) DO UPDATE SET content = excluded.content, ends_at = excluded.ends_at";
        let values = [Text(kind.name()), Text(name), Text(text), Number(until)];
        self.0.change(PUT, &values).await.map(drop)
    }

    pub(super) async fn remove(&self, kind: Kind, name: &str) -> Result<(), Failure> {
        const REMOVE: &str = "DELETE FROM mainstay_idp_records WHERE kind = $1 AND name = $2";
        self.0.change(REMOVE, &[Text(kind.name()), Text(name)]).await.map(drop)
    }

    pub(super) async fn sweep(&self, now: u64) -> Result<(), Failure> {
        const SWEEP: &str = "DELETE FROM mainstay_idp_records WHERE ends_at <= $1 AND (kind, name) IN (
            SELECT kind, name FROM mainstay_idp_records WHERE ends_at <= $1 LIMIT $2)";
        // What another process sweeps just now is not waited for: two of them would wait for each other.
        const SWEEP_UNLOCKED: &str =
            "DELETE FROM mainstay_idp_records WHERE ends_at <= $1 AND (kind, name) IN (
            SELECT kind, name FROM mainstay_idp_records WHERE ends_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
        let sweep = if self.0.has_row_locks() { SWEEP_UNLOCKED } else { SWEEP };
        for _ in 0..BATCHES {
            if self.0.change(sweep, &[Number(now), Number(BATCH)]).await? < BATCH {
                break;
            }
        }
        Ok(())
    }
}
