//! Prometheus' text, and OpenMetrics as far as both agree.

use std::collections::BTreeSet;

/// The samples of a scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Exposition {
    pub(crate) samples: Vec<Sample>,
}

/// One line: a name, its labels as they are written, and a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    name: String,
    labels: String,
    value: f64,
}

impl Exposition {
    /// Reads it, or says which line can't be read.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| Sample::read(line).ok_or_else(|| format!("can't read `{line}`")));
        Ok(Self { samples: samples.collect::<Result<_, _>>()? })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    /// All samples of this name whose labels are as wanted, added up.
    pub(crate) fn sum(&self, name: &str, wanted: impl Fn(&str) -> bool) -> f64 {
        self.of(name).filter(|sample| wanted(&sample.labels)).map(|sample| sample.value).sum()
    }

    /// The values that a label has.
    pub(crate) fn values_of(&self, name: &str, label: &str) -> BTreeSet<String> {
        let begin = format!("{label}=\"");
        let value = |sample: &Sample| {
            let labels = &sample.labels;
            let at = labels.starts_with(&begin).then_some(0);
            let at = at.or_else(|| labels.find(&format!(",{begin}")).map(|at| at + 1))?;
            let rest = labels.get(at + begin.len()..)?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        self.of(name).filter_map(value).collect()
    }

    /// Names with their labels, of all names that begin so.
    pub(crate) fn series_of(&self, prefix: &str) -> BTreeSet<String> {
        let all = self.samples.iter().filter(|sample| sample.name.starts_with(prefix));
        all.map(|sample| format!("{}{{{}}}", sample.name, sample.labels)).collect()
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }
}

impl Sample {
    fn read(line: &str) -> Option<Self> {
        let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
        let (name, rest) = line.split_at_checked(end)?;
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_at_checked(closing(rest)?).map(|(labels, rest)| (labels, &rest[1..]))?,
            None => ("", rest),
        };
        let value = rest.split_ascii_whitespace().next()?;
        let value = match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            value => value.parse().ok()?,
        };
        if name.is_empty() {
            return None;
        }
        Some(Self { name: name.to_owned(), labels: labels.to_owned(), value })
    }
}

/// Where the labels end: at the bracket that no value holds.
fn closing(labels: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in labels.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read() {
        let text = "# HELP a b\n# TYPE a histogram\na_bucket{x=\"}\\\"\",le=\"+Inf\"} 3 # {t=\"1\"} 0.5 1.0\na_sum 1.5\nb NaN\n# EOF\n";
        let read = Exposition::read(text).unwrap();
        assert_eq!(read.samples.len(), 3);
        assert_eq!(read.sum("a_bucket", |labels| labels.contains("le")), 3.0);
        assert_eq!(read.values_of("a_bucket", "le"), BTreeSet::from(["+Inf".to_owned()]));
        assert!(read.has("b") && !read.has("a"));
        for bad in ["a{x=\"1\" 3", "a", "{} 3", "a b"] {
            assert!(Exposition::read(bad).unwrap_err().contains(bad), "{bad}");
        }
    }
}
