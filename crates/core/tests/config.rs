//! The configuration as a program sees it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "config/settings.rs"]
mod settings;

#[path = "config/layers.rs"]
mod layers;
#[path = "config/reload.rs"]
mod reload;
#[path = "config/robustness.rs"]
mod robustness;
#[path = "config/wrong.rs"]
mod wrong;
