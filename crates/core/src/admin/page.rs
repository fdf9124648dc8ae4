//! A page of the admin listener.

use std::{fmt, sync::Arc};

use serde_json::Value;

/// A page that shows a JSON value, made anew for each request. Making it must not wait.
#[derive(Clone)]
pub struct Page {
    pub(super) path: String,
    pub(super) title: String,
    pub(super) value: Arc<dyn Fn() -> Value + Send + Sync>,
}

impl Page {
    /// The page at `path`; `title` is its line on the index page.
    ///
    /// # Panics
    /// If `path` does not begin with `/`, or holds anything but letters, digits, `/`, `-`, `_` and `.`.
    #[track_caller]
    pub fn new(
        path: impl Into<String>,
        title: impl Into<String>,
        value: impl Fn() -> Value + Send + Sync + 'static,
    ) -> Self {
        let path = path.into();
        check(&path);
        Self { path, title: title.into(), value: Arc::new(value) }
    }
}

/// A path that is plain text for the router and for HTML.
#[track_caller]
pub(super) fn check(path: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    assert!(
        path.len() > 1 && path.starts_with('/') && path.chars().all(plain),
        "`{path}` is no path of an admin page: expected `/`, then letters, digits, `/`, `-`, `_` and `.`"
    );
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("path", &self.path).field("title", &self.title).finish_non_exhaustive()
    }
}
