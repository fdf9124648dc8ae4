//! The configuration as a program sees it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "config/settings.rs"]
mod settings;

#[path = "config/wrong.rs"]
mod wrong;
