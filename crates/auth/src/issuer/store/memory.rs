use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Failure, Kind};

/// Nobody adds records without having logged in or proved to be a client; those who have are bounded all the same.
const MOST: usize = 200_000;

/// Records in this process.
#[derive(Default)]
pub(in crate::issuer) struct Memory(Mutex<HashMap<(Kind, String), Record>>);

struct Record {
    text: String,
    until: u64,
}

impl Memory {
    pub(super) fn get(&self, kind: Kind, name: &str, now: u64) -> Option<String> {
        let records = self.records();
        let record = records.get(&(kind, name.to_owned()))?;
        (record.until > now).then(|| record.text.clone())
    }

    pub(super) fn insert(
        &self,
        kind: Kind,
        name: &str,
        text: String,
        until: u64,
        now: u64,
    ) -> Result<bool, Failure> {
        let mut records = self.records();
        let key = (kind, name.to_owned());
        if records.get(&key).is_some_and(|record| record.until > now) {
            return Ok(false);
        }
        add(&mut records, key, Record { text, until }, now)?;
        Ok(true)
    }

    pub(super) fn put(
        &self,
        kind: Kind,
        name: &str,
        text: String,
        until: u64,
        now: u64,
    ) -> Result<(), Failure> {
        add(&mut self.records(), (kind, name.to_owned()), Record { text, until }, now)
    }

    pub(super) fn swap(&self, kind: Kind, name: &str, from: &str, to: String) -> bool {
        match self.records().get_mut(&(kind, name.to_owned())) {
            Some(record) if record.text == from => {
                record.text = to;
                true
            }
            _ => false,
        }
    }

    pub(super) fn keep(&self, kind: Kind, name: &str, until: u64, now: u64) -> bool {
        match self.records().get_mut(&(kind, name.to_owned())) {
            Some(record) if record.until > now => {
                record.until = until;
                true
            }
            _ => false,
        }
    }

    pub(super) fn remove(&self, kind: Kind, name: &str) {
        self.records().remove(&(kind, name.to_owned()));
    }

    pub(super) fn sweep(&self, now: u64) {
        self.records().retain(|_, record| record.until > now);
    }

    #[cfg(test)]
    pub(super) fn dump(&self) -> Vec<String> {
        self.records()
            .iter()
            .map(|((kind, name), record)| format!("{kind:?} {name} {}", record.text))
            .collect()
    }

    fn records(&self) -> MutexGuard<'_, HashMap<(Kind, String), Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(
    records: &mut HashMap<(Kind, String), Record>,
    key: (Kind, String),
    record: Record,
    now: u64,
) -> Result<(), Failure> {
    if records.len() >= MOST {
        records.retain(|_, record| record.until > now);
    }
    if records.len() >= MOST && !records.contains_key(&key) {
        return Err(Failure(format!("there are {MOST} records in memory, which is the limit")));
    }
    records.insert(key, record);
    Ok(())
}

/// Without the records, which are about people.
impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} records)", self.records().len())
    }
}
