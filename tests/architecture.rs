//! The directions between the crates, and other rules about the repository as a whole.
//!
//! The reasons are in `docs/adr/0001-crates-and-directions.md`. Each rule is a function over plain data, so that a
//! test can show that it finds what it is there to find.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The one crate that every library may build on.
const CORE: &str = "mainstay-core";

/// The crate that puts the others together.
const FACADE: &str = "mainstay";

/// The crates that may know more than the core, and whom.
const ALLOWED: [(&str, &[&str]); 3] = [
    (
        "mainstay-gateway",
        &["mainstay-client", "mainstay-discovery", "mainstay-auth", "mainstay-telemetry", CORE],
    ),
    ("mainstay-client", &["mainstay-discovery", CORE]),
    ("mainstay-data", &["mainstay-messaging", CORE]),
];

/// A program that looks at services from outside; its tests may start some.
const BLACK_BOX: &str = "mainstay-cli";

/// What its one command that is a service itself is made of, `mainstay idp`.
const OF_IDP: [&str; 2] = ["mainstay-auth", CORE];

/// Rules about descriptions: of the workspace it uses nothing, so that also the program from outside may use it.
const INTERFACE: &str = "mainstay-interface";

/// One package of the workspace, and what it takes from the workspace.
#[derive(Debug)]
struct Member {
    name: String,
    /// Published crates: the facade and everything under `crates/`.
    is_ours_to_order: bool,
    uses: Vec<Use>,
}

#[derive(Debug)]
struct Use {
    name: String,
    is_for_tests: bool,
}

/// A judge that shares code with the judged shares its mistakes.
#[test]
fn the_commands_that_look_at_services_share_no_code_with_them() {
    let source = root().join("crates/cli/src");
    let mut open = vec![source.clone()];
    let mut read = 0;
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("it can be read");
            read += 1;
            let uses = ["mainstay_core", "mainstay_auth"].iter().any(|name| text.contains(name));
            // These make what services take: an issuer, keys.
            if uses && !path.starts_with(source.join("idp")) && path != source.join("key.rs") {
                found.push(path);
            }
        }
    }
    assert!(read > 20, "only {read} files: is this the right folder?");
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn crates_depend_only_in_the_allowed_directions() {
    let members = members();
    let ordered = members.iter().filter(|member| member.is_ours_to_order).count();
    assert!(
        ordered >= 7,
        "cargo metadata shows only {ordered} published crates: is this the right workspace?"
    );
    let found = forbidden_edges(&members);
    assert!(found.is_empty(), "edges that docs/adr/0001 does not allow:\n{}", found.join("\n"));
}

#[test]
fn no_dependency_brings_openssl() {
    let lock = read(&root().join("Cargo.lock"));
    let found: Vec<_> = locked_names(&lock).filter(|name| is_openssl(name)).collect();
    assert!(found.is_empty(), "Cargo.lock has {found:?}; rustls is the one TLS implementation");
}

#[test]
fn no_source_file_has_unsafe_code() {
    let mut found = Vec::new();
    for file in files_below(&root(), "rs") {
        let text = read(&file);
        found.extend(unsafe_lines(&text).into_iter().map(|line| format!("{}:{line}", file.display())));
    }
    assert!(found.is_empty(), "unsafe code:\n{}", found.join("\n"));
}

#[test]
fn every_member_takes_the_lints_of_the_workspace() {
    let manifests: Vec<_> =
        files_below(&root(), "toml").into_iter().filter(|file| file.ends_with("Cargo.toml")).collect();
    assert!(manifests.len() >= 10, "only {manifests:?} found");
    for manifest in manifests {
        let text = read(&manifest);
        // No member, but a workspace of its own, such as what is fuzzed: its manifest says why.
        if manifest != root().join("Cargo.toml") && text.lines().any(|line| line == "[workspace]") {
            continue;
        }
        assert!(takes_workspace_lints(&text), "{}: wants\n[lints]\nworkspace = true", manifest.display());
    }
    let workspace = read(&root().join("Cargo.toml"));
    assert!(workspace.contains(r#"unsafe_code = "forbid""#), "the workspace no longer forbids unsafe code");
}

#[test]
fn the_standard_stack_is_put_together_in_one_file() {
    let stack = root().join("src/stack.rs");
    if !stack.is_file() && !root().join("src/stack").is_dir() {
        return;
    }
    let mut found = Vec::new();
    for file in files_below(&root().join("src"), "rs") {
        if file == stack || file.starts_with(root().join("src/stack")) || file.ends_with("tests.rs") {
            continue;
        }
        let text = read(&file);
        found.extend(layers_made(&text).into_iter().map(|line| format!("{}:{line}", file.display())));
    }
    assert!(found.is_empty(), "layers are made outside src/stack.rs:\n{}", found.join("\n"));
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut found = Vec::new();
    for file in files_below(&root(), "md") {
        let folder = file.parent().expect("a file is in a folder");
        let text = read(&file);
        let dead = links(&text).filter(|link| !folder.join(link).exists());
        found.extend(dead.map(|link| format!("{}: {link}", file.display())));
    }
    assert!(found.is_empty(), "links to nothing:\n{}", found.join("\n"));
}

#[test]
fn every_decision_stands_in_the_index() {
    let folder = root().join("docs/adr");
    let index = read(&folder.join("README.md"));
    let listed: BTreeSet<&str> = links(&index).filter(|link| !link.starts_with("..")).collect();
    let names = files_below(&folder, "md")
        .into_iter()
        .filter_map(|file| Some(file.file_name()?.to_str()?.to_owned()));
    let decisions: BTreeSet<String> = names.filter(|name| name != "README.md").collect();
    assert!(decisions.len() >= 7, "only {decisions:?} found");
    assert_eq!(listed, decisions.iter().map(String::as_str).collect());
}

/// Each use of one published crate by another that the directions do not allow.
fn forbidden_edges(members: &[Member]) -> Vec<String> {
    let ordered: BTreeSet<&str> =
        members.iter().filter(|member| member.is_ours_to_order).map(|member| member.name.as_str()).collect();
    let workspace: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut found = Vec::new();
    for member in members.iter().filter(|member| member.is_ours_to_order) {
        for used in member.uses.iter().filter(|used| workspace.contains(used.name.as_str())) {
            let is_allowed = match member.name.as_str() {
                BLACK_BOX => {
                    used.is_for_tests || used.name == INTERFACE || OF_IDP.contains(&used.name.as_str())
                }
                INTERFACE => false,
                FACADE => ordered.contains(used.name.as_str()) && used.name != BLACK_BOX,
                name => allowed_for(name).contains(&used.name.as_str()),
            };
            if !is_allowed {
                let kind = if used.is_for_tests { " (for its tests)" } else { "" };
                found.push(format!("{} -> {}{kind}", member.name, used.name));
            }
        }
    }
    found
}

fn allowed_for(name: &str) -> &'static [&'static str] {
    match ALLOWED.iter().find(|(member, _)| *member == name) {
        Some((_, allowed)) => allowed,
        None if name == CORE => &[],
        None => &[CORE],
    }
}

/// The workspace as cargo sees it, with its edges of every kind.
fn members() -> Vec<Member> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(root())
        .output()
        .expect("cargo starts: it started this test");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON");
    let packages = metadata["packages"].as_array().expect("packages is a list");
    packages.iter().map(member).collect()
}

fn member(package: &serde_json::Value) -> Member {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let dependencies = package["dependencies"].as_array().expect("dependencies is a list");
    // `publish` is null, or the list of registries: an empty one is `publish = false`.
    let is_ours_to_order = package["publish"].as_array().is_none_or(|registries| !registries.is_empty());
    let uses = dependencies
        .iter()
        .filter(|dependency| dependency["path"].is_string())
        .map(|dependency| Use { name: text(&dependency["name"]), is_for_tests: dependency["kind"] == "dev" })
        .collect();
    Member { name: text(&package["name"]), is_ours_to_order, uses }
}

fn locked_names(lock: &str) -> impl Iterator<Item = &str> {
    lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
}

fn is_openssl(name: &str) -> bool {
    ["openssl", "openssl-sys", "native-tls"].contains(&name)
}

/// The numbers of the lines on which the keyword opens code; prose and `unsafe_code` are not meant.
fn unsafe_lines(text: &str) -> Vec<usize> {
    let opens_code = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.match_indices("unsafe").any(|(at, word)| {
            let is_word = !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
            let after = code[at + word.len()..].trim_start();
            is_word
                && ["{", "(", "fn ", "impl", "trait ", "extern "].iter().any(|next| after.starts_with(next))
        })
    };
    numbered(text, opens_code)
}

/// The numbers of the lines that make a layer of ours or stack several; declaring or naming one is not meant.
fn layers_made(text: &str) -> Vec<usize> {
    numbered(text, |line| {
        let code = line.split("//").next().unwrap_or_default();
        code.contains("Layer::") || code.contains("ServiceBuilder::")
    })
}

fn numbered(text: &str, is_meant: impl Fn(&str) -> bool) -> Vec<usize> {
    text.lines().enumerate().filter(|(_, line)| is_meant(line)).map(|(at, _)| at + 1).collect()
}

/// The files that a Markdown text links to, without the place in them; the web and code blocks are not meant.
fn links(text: &str) -> impl Iterator<Item = &str> {
    // Every second part is inside a fence.
    let prose = text.split("```").step_by(2);
    let targets = prose.flat_map(|prose| prose.split("](").skip(1)).filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split(['#', ' ']).next().unwrap_or_default());
    files.filter(|file| !file.is_empty() && !file.contains(':'))
}

fn takes_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines.next() == Some("workspace = true")
}

/// Every file of that extension, except in hidden folders and in what cargo writes.
fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("the folder can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_symlink() || name.starts_with('.') || (path.is_dir() && name == "target") {
            continue;
        }
        if path.is_dir() {
            files.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// That the rules find what they are there to find.
mod rules {
    use super::*;

    fn crate_that_uses(name: &str, uses: &[&str]) -> Member {
        let uses = uses.iter().map(|name| Use { name: (*name).to_owned(), is_for_tests: false }).collect();
        Member { name: name.to_owned(), is_ours_to_order: true, uses }
    }

    fn for_its_tests(mut member: Member) -> Member {
        member.uses.iter_mut().for_each(|used| used.is_for_tests = true);
        member
    }

    /// A workspace in which every direction is as it should be, with `extra` put in place of its namesake.
    fn workspace(extra: Member) -> Vec<Member> {
        let mut members = vec![
            crate_that_uses(CORE, &[]),
            crate_that_uses("mainstay-discovery", &[CORE]),
            crate_that_uses("mainstay-auth", &[CORE]),
            crate_that_uses("mainstay-client", &[CORE, "mainstay-discovery"]),
            crate_that_uses("mainstay-gateway", &[CORE, "mainstay-client", "mainstay-auth"]),
            crate_that_uses(FACADE, &[CORE, "mainstay-gateway", "mainstay-client"]),
            crate_that_uses(INTERFACE, &[]),
            crate_that_uses(BLACK_BOX, &[INTERFACE]),
            Member { is_ours_to_order: false, ..crate_that_uses("shop", &[FACADE, BLACK_BOX]) },
        ];
        members.retain(|member| member.name != extra.name);
        members.push(extra);
        members
    }

    fn found(extra: Member) -> Vec<String> {
        forbidden_edges(&workspace(extra))
    }

    #[test]
    fn the_allowed_directions_pass() {
        assert_eq!(found(crate_that_uses("mainstay-telemetry", &[CORE, "serde"])), [""; 0]);
    }

    #[test]
    fn an_edge_between_siblings_is_found() {
        assert_eq!(
            found(crate_that_uses("mainstay-auth", &[CORE, "mainstay-client"])),
            ["mainstay-auth -> mainstay-client"]
        );
    }

    #[test]
    fn an_edge_upwards_is_found() {
        assert_eq!(
            found(crate_that_uses(CORE, &["mainstay-discovery"])),
            ["mainstay-core -> mainstay-discovery"]
        );
        assert_eq!(
            found(crate_that_uses("mainstay-gateway", &[CORE, FACADE])),
            ["mainstay-gateway -> mainstay"]
        );
    }

    #[test]
    fn a_new_crate_may_use_the_core_alone() {
        assert_eq!(found(crate_that_uses("mainstay-new", &[CORE])), [""; 0]);
        assert_eq!(
            found(crate_that_uses("mainstay-new", &["mainstay-discovery"])),
            ["mainstay-new -> mainstay-discovery"]
        );
    }

    #[test]
    fn tests_of_a_library_keep_to_the_directions_too() {
        assert_eq!(
            found(for_its_tests(crate_that_uses("mainstay-client", &["mainstay-gateway"]))),
            ["mainstay-client -> mainstay-gateway (for its tests)"]
        );
    }

    #[test]
    fn the_black_box_uses_little_but_in_its_tests() {
        assert_eq!(
            found(crate_that_uses(BLACK_BOX, &["mainstay-client"])),
            ["mainstay-cli -> mainstay-client"]
        );
        assert_eq!(found(crate_that_uses(BLACK_BOX, &OF_IDP)), [""; 0]);
        assert_eq!(found(for_its_tests(crate_that_uses(BLACK_BOX, &["shop"]))), [""; 0]);
        assert_eq!(found(crate_that_uses(FACADE, &[BLACK_BOX])), ["mainstay -> mainstay-cli"]);
    }

    #[test]
    fn the_rules_about_descriptions_use_nothing() {
        assert_eq!(found(crate_that_uses(INTERFACE, &[CORE])), ["mainstay-interface -> mainstay-core"]);
        assert_eq!(
            found(crate_that_uses("mainstay-client", &[INTERFACE])),
            ["mainstay-client -> mainstay-interface"]
        );
    }

    #[test]
    fn a_published_crate_that_uses_an_example_is_found() {
        assert_eq!(found(crate_that_uses(FACADE, &["shop"])), ["mainstay -> shop"]);
    }

    #[test]
    fn openssl_in_a_lock_file_is_found() {
        let lock =
            "[[package]]\nname = \"openssl-sys\"\nversion = \"0.9.0\"\n[[package]]\nname = \"rustls\"\n";
        assert_eq!(locked_names(lock).filter(|name| is_openssl(name)).collect::<Vec<_>>(), ["openssl-sys"]);
    }

    #[test]
    fn unsafe_code_is_found_and_prose_is_not() {
        // Put together here, so that this file does not find itself.
        let keyword = concat!("un", "safe");
        let text = format!(
            "#![forbid({keyword}_code)]\n// {keyword} {{ }}\nlet x = {keyword} {{ y() }};\n{keyword}  fn z() {{}}\n\
             #[{keyword}(no_mangle)]\nlet reason = \"{keyword} to repeat\";\n"
        );
        assert_eq!(unsafe_lines(&text), [3, 4, 5]);
    }

    #[test]
    fn a_layer_made_is_found_and_one_named_is_not() {
        let text = "pub use core::RecoverLayer;\n// RecoverLayer::new\n.layer(RecoverLayer::new())\nfn a(l: RecoverLayer)\n";
        assert_eq!(layers_made(text), [3]);
    }

    #[test]
    fn links_to_files_are_found_and_others_are_not() {
        let text = "[a](b.md) [c](d/e.md#f) [g](#h) [i](https://j.example/k) ![l](m.svg \"n\")\n```\n[o](p)\n```\n[q](r)";
        assert_eq!(links(text).collect::<Vec<_>>(), ["b.md", "d/e.md", "m.svg", "r"]);
    }

    #[test]
    fn a_manifest_without_the_lints_is_found() {
        assert!(takes_workspace_lints("[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n"));
        assert!(!takes_workspace_lints("[package]\nname = \"x\"\n"));
        assert!(!takes_workspace_lints("[lints]\n\n[dependencies]\nworkspace = true\n"));
    }
}
