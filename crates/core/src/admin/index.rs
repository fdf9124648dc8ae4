//! `/`: the pages there are.

use std::{collections::BTreeMap, fmt::Write};

/// HTML with a link for each path and its title.
pub(super) fn html(pages: &BTreeMap<String, String>) -> String {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>admin</title>\n<h1>admin</h1>\n<dl>\n",
    );
    for (path, title) in pages {
        // Writing to a string can't fail. Paths are plain text by `page::check`.
        let _ = writeln!(html, "<dt><a href=\"{path}\">{path}</a></dt><dd>{}</dd>", escape(title));
    }
    html + "</dl>\n</html>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
