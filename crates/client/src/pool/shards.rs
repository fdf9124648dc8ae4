//! One value for each runtime.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::{Handle, Id};

/// Reading takes no lock. The values of a runtime that has ended stay until the next one begins with the same id, or
/// the whole is dropped: what they hold is closed by then.
#[derive(Debug)]
pub(crate) struct Shards<T>(ArcSwap<Vec<(Id, Arc<T>)>>);

impl<T: Default> Shards<T> {
    /// The value of the runtime that runs this.
    pub(crate) fn here(&self) -> Arc<T> {
        let id = Handle::current().id();
        if let Some(found) = find(&self.0.load(), id) {
            return found;
        }
        let new = Arc::new(T::default());
        self.0.rcu(|shards| match find(shards, id) {
            Some(_) => shards.clone(),
            None => {
                let mut shards = Vec::clone(shards);
                shards.push((id, new.clone()));
                Arc::new(shards)
            }
        });
        find(&self.0.load(), id).unwrap_or(new)
    }

    /// Those of all runtimes.
    pub(crate) fn all(&self) -> Arc<Vec<(Id, Arc<T>)>> {
        self.0.load_full()
    }
}

fn find<T>(shards: &[(Id, Arc<T>)], id: Id) -> Option<Arc<T>> {
    shards.iter().find(|(of, _)| *of == id).map(|(_, shard)| shard.clone())
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runtime_has_its_own() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (one, two) = (runtime(), runtime());
        let shards = Shards::<std::sync::atomic::AtomicU32>::default();
        let of = |runtime: &tokio::runtime::Runtime| runtime.block_on(async { shards.here() });
        assert!(Arc::ptr_eq(&of(&one), &of(&one)));
        assert!(!Arc::ptr_eq(&of(&one), &of(&two)));
    }
}
