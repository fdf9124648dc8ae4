//! Wrong configurations, and what is said about each.

use std::fmt::Write as _;

use mainstay_core::config::CommandLine;

use crate::settings::{Directory, Orders};

/// A wrong configuration.
#[derive(Default)]
struct Case {
    name: &'static str,
    toml: &'static str,
    profile: &'static str,
    files: &'static [(&'static str, &'static str)],
    environment: &'static [(&'static str, &'static str)],
    set: &'static [&'static str],
    /// Other arguments of the command line.
    arguments: &'static [&'static str],
    /// With a service `orders`.
    orders: bool,
}

fn cases() -> Vec<Case> {
    let case = |name| Case { name, ..Case::default() };
    vec![
        Case { toml: "[server]\nadress = \"0.0.0.0:80\"\n", ..case("key misspelled") },
        Case { toml: "[sever]\naddress = \"0.0.0.0:80\"\n", ..case("table misspelled") },
        Case { toml: "\nheader_timeout = \"5s\"\n", ..case("key of another table") },
        Case { toml: "[server]\nfrobnicate = 1\n", ..case("key like no other") },
        Case { toml: "[server]\naddress = \"localhost\"\n", ..case("address without a port") },
        Case { toml: "[server]\naddress = 8080\n", ..case("number for an address") },
        Case { toml: "[server]\n# bytes?\nheader_timeout = 30\n", ..case("duration without a unit") },
        Case { toml: "[server]\nheader_timeout = \"30 parsecs\"\n", ..case("duration with a strange unit") },
        Case { toml: "[server]\nheader_timeout = \"30s1m\"\n", ..case("duration with units out of order") },
        Case { toml: "[server]\nheader_timeout = \"99999999999h\"\n", ..case("duration too long") },
        Case { toml: "[server]\nheader_timeout = \"\"\n", ..case("empty duration") },
        Case { toml: "[server]\nbody_limit = \"2 MeB\"\n", ..case("size with a strange unit") },
        Case { toml: "[server]\nbody_limit = -1\n", ..case("negative size") },
        Case { toml: "[server]\nbody_limit = 1.5\n", ..case("broken size") },
        Case { toml: "[server]\nconnections = 70000\n", ..case("number too large") },
        Case { toml: "[server]\nconnections = -1\n", ..case("number below zero") },
        Case { toml: "[server]\nconnections = \"many\"\n", ..case("text for a number") },
        Case { toml: "[server]\nhttp2 = \"yes\"\n", ..case("text for a boolean") },
        Case { toml: "[server]\nname = 7\n", ..case("number for text in a file") },
        Case { toml: "[server]\nname = [\"a\"]\n", ..case("list for text") },
        Case { toml: "server = \"0.0.0.0:80\"\n", ..case("text for a table") },
        Case { toml: "[log]\nlevel = \"wran\"\n", ..case("unknown variant") },
        Case { toml: "[log.targets]\nhyper = \"loud\"\n", ..case("unknown variant in a map") },
        Case { toml: "[host]\nports = [80, 443, \"x\", 99999]\n", ..case("elements of a list") },
        Case { toml: "[host]\nservices = \"orders\"\n", ..case("text for a list") },
        Case {
            toml: "[[upstreams]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n\n[[upstreams]]\naddres = \"127.0.0.1:2\"\n",
            ..case("table in a list: unknown and missing keys")
        },
        Case {
            toml: "[[upstreams]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nweight = 256\nunknown = true\n",
            ..case("type without deny_unknown_fields")
        },
        Case { toml: "[tls]\ncertificate_file = \"a.pem\"\n", ..case("missing key without a default") },
        Case {
            toml: "[tls]\ncertificate_file = \"a.pem\"\nkey = \"k\"\nclients = { required = {} }\n",
            ..case("missing key in a variant")
        },
        Case {
            toml: "[tls]\ncertificate_file = \"a.pem\"\nkey = \"k\"\nclients = \"require\"\n",
            ..case("variant misspelled")
        },
        Case { toml: "[tls]\ncertificate_file = \"a.pem\"\nkey = 12345\n", ..case("secret of another type") },
        Case { toml: "[server\naddress = 1\n", ..case("TOML syntax") },
        Case { toml: "[tls]\nkey = \"hunter2\n", ..case("TOML syntax on a line with a secret") },
        Case { toml: "[server]\nname = \"a\"\nname = \"b\"\n", ..case("TOML key twice") },
        Case { toml: "[drain]\ndelay = \"1m\"\n", ..case("values that do not go together") },
        Case {
            toml: "[drain]\ntimeout = \"1s\"\n",
            ..case("a value that does not go with another's default")
        },
        Case {
            profile: "staging",
            toml: "[server]\nconnections = 1\n",
            files: &[("mainstay.staging.toml", "[server]\nconnections = \"two\"\n")],
            ..case("wrong value in the profile's file")
        },
        Case { profile: "../etc", ..case("profile that is a path") },
        Case { environment: &[("MAINSTAY_SERVER__ADDRESS", "nowhere")], ..case("wrong value in a variable") },
        Case { environment: &[("MAINSTAY_SERVER_ADDRESS", "127.0.0.1:1")], ..case("one underscore for two") },
        Case { environment: &[("MAINSTAY_SERVER__ADRESS", "127.0.0.1:1")], ..case("variable misspelled") },
        Case { environment: &[("MAINSTAY_NONSENSE", "hunter2")], ..case("variable like no key") },
        Case {
            environment: &[("MAINSTAY_SERVER__CONNECTIONS", "12x")],
            ..case("text for a number in a variable")
        },
        Case {
            environment: &[("MAINSTAY_HOST__PORTS", "80,http")],
            ..case("element of a list in a variable")
        },
        Case { environment: &[("MAINSTAY_HOST__PORTS", "[80")], ..case("broken list in a variable") },
        Case {
            environment: &[("MAINSTAY_SERVER__NAME_FILE", "absent")],
            ..case("file of a variable is missing")
        },
        Case {
            files: &[("name", "a\n")],
            environment: &[("MAINSTAY_SERVER__NAME", "b"), ("MAINSTAY_SERVER__NAME_FILE", "name")],
            ..case("variable and its file at once")
        },
        Case {
            files: &[("address", "not an address\n")],
            environment: &[("MAINSTAY_SERVER__ADDRESS_FILE", "address")],
            ..case("wrong value in the file of a variable")
        },
        Case {
            environment: &[
                ("MAINSTAY_SERVER", "{}"),
                ("MAINSTAY_SERVER__NAME", "a"),
                ("MAINSTAY_LOG", "x"),
                ("MAINSTAY_LOG__LEVEL", "info"),
            ],
            ..case("table and its keys at once")
        },
        Case {
            environment: &[("MAINSTAY_CONFIG", "absent.toml")],
            ..case("file named by the environment is missing")
        },
        Case { arguments: &["--config", "absent.toml"], ..case("file named by the command line is missing") },
        Case { set: &["server.address"], ..case("--set without a value") },
        Case { set: &["=1", "server..address=1"], ..case("--set without a key") },
        Case {
            set: &["host.ports[0]=80", "app.orders.database_password:hunter2"],
            ..case("--set of an element")
        },
        Case { set: &["server.adress=127.0.0.1:1"], ..case("--set of an unknown key") },
        Case {
            toml: "[app.orders\n",
            environment: &[("MAINSTAY_DRAIN__DELAY", "1m")],
            orders: true,
            ..case("what a broken file may have set is not missing")
        },
        Case {
            toml: "[app.orders]\ncurrency = \"EUR\"\n",
            environment: &[("MAINSTAY_APP__ORDERS__DATABASE_PASSWORD_FILE", "absent")],
            orders: true,
            ..case("what a missing file should have set is not missing")
        },
        Case { set: &["server.factor=fast"], ..case("--set of a wrong value") },
        Case {
            toml: "[app.order]\ncurrency = \"EUR\"\n",
            orders: true,
            ..case("service misspelled, its keys missing")
        },
        Case {
            toml: "[app.orders]\ncurrency = \"EUR\"\ndatabase_password = [\"hunter2\"]\nreserve = 5\n",
            orders: true,
            ..case("wrong values of a service")
        },
        Case {
            toml: "[app.orders]\ncurrency = \"EUR\"\ndatabase_password = \"hunter2\"\n",
            orders: true,
            ..case("refused secret")
        },
        Case {
            toml: "[app.orders]\ncurrency = \"EUR\"\ndatabase_pasword = \"hunter2\"\n",
            orders: true,
            ..case("secret misspelled")
        },
        Case {
            toml: "[server]\naddress = \"x\"\nadress = \"y\"\nconnections = \"z\"\n[log]\nlevel = 1\n[sever]\n",
            environment: &[("MAINSTAY_DRAIN__DELAY", "5"), ("MAINSTAY_DRAINS__DELAY", "5s")],
            set: &["server.http2=perhaps", "host.ports=a,b"],
            orders: true,
            ..case("everything at once")
        },
    ]
}

#[test]
fn every_wrong_configuration_is_told_by_key_source_value_and_expectation() {
    let mut told = String::new();
    let cases = cases();
    assert!(cases.len() >= 30);
    for case in cases {
        let directory = Directory::with(case.files);
        if !case.toml.is_empty() {
            directory.write("mainstay.toml", case.toml);
        }
        let arguments = CommandLine::parse(case.arguments.iter().map(Into::into)).unwrap();
        let mut loader =
            directory.loader().environment(case.environment.iter().copied()).command_line(&arguments);
        if !case.profile.is_empty() {
            loader = loader.profile(case.profile);
        }
        for assignment in case.set {
            loader = loader.set(*assignment);
        }
        if case.orders {
            loader = loader.tree::<Orders>("app.orders");
        }
        let errors = loader.load().expect_err(case.name);
        let text = directory.neutral(&errors.to_string());
        assert!(!text.contains("hunter2"), "{} shows a secret: {text}", case.name);
        assert!(!format!("{errors:#}").contains('\n'), "{}", case.name);
        writeln!(told, "## {}\n\n{text}\n", case.name).unwrap();
    }
    insta::assert_snapshot!("wrong_configurations", told);
}
