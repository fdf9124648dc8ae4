use protox::{
    Compiler,
    file::{File, FileResolver},
};

use super::*;

/// `body` as a file of the package `shop.v1`.
fn described(body: &str) -> Descriptors {
    described_as("shop.v1", "proto3", body)
}

fn described_as(package: &str, syntax: &str, body: &str) -> Descriptors {
    let text = format!("syntax = \"{syntax}\";\npackage {package};\n{body}");
    let mut compiler = Compiler::with_file_resolver(Text(text));
    compiler.open_file("test.proto").unwrap();
    Descriptors::decode(&compiler.encode_file_descriptor_set()).unwrap()
}

/// The one file there is.
struct Text(String);

impl FileResolver for Text {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        File::from_source(name, &self.0)
    }
}

fn told(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| format!("{}: {}", change.place, change.why)).collect()
}

/// What is told of a message `M` with these fields, in both directions of the change.
fn fields(old: &str, new: &str) -> Comparison {
    let message =
        |fields: &str| described(&format!("message M {{ {fields} }} message N {{}} enum E {{ Z = 0; }}"));
    compare(&message(old), &message(new)).unwrap()
}

#[track_caller]
fn breaks(old: &str, new: &str, why: &str) {
    let found = fields(old, new);
    let told = told(&found.breaking);
    assert!(told.iter().any(|told| told.contains(why)), "{old} -> {new}: {found}");
}

/// Not on the wire, but in code.
#[track_caller]
fn breaks_source(old: &str, new: &str, why: &str) {
    let found = fields(old, new);
    let told = told(&found.source);
    assert!(found.is_compatible() && told.iter().any(|told| told.contains(why)), "{old} -> {new}: {found}");
}

#[track_caller]
fn keeps(old: &str, new: &str) {
    let found = fields(old, new);
    assert!(found.is_compatible() && found.source.is_empty(), "{old} -> {new}: {found}");
}

#[test]
fn what_is_on_the_wire_is_numbers_and_types() {
    breaks("string a = 1;", "", "its number is not reserved (`reserved 1;`)");
    breaks("string a = 1;", "reserved 2 to 9;", "its number is not reserved");
    breaks("string a = 1;", "string a = 2;", "its number was 1 and is 2 now");
    breaks("string a = 1;", "uint32 a = 1;", "can't be read as the other");
    breaks("bytes a = 1;", "string a = 1;", "can't be read as the other");
    breaks("int64 a = 1;", "int32 a = 1;", "can't hold");
    breaks("uint32 a = 1;", "bool a = 1;", "can't hold");
    breaks("sint32 a = 1;", "int32 a = 1;", "can't be read as the other");
    breaks("fixed32 a = 1;", "fixed64 a = 1;", "can't be read as the other");
    breaks("M a = 1;", "N a = 1;", "is gone");
    breaks("repeated string a = 1;", "string a = 1;", "one of many");
    breaks("map<string, string> a = 1;", "map<string, uint32> a = 1;", "can't be read as the other");
    breaks("string a = 1; string b = 2;", "oneof x { string a = 1; string b = 2; }", "with others");
    keeps("", "string a = 1;");
    keeps("oneof x { string a = 1; }", "oneof x { string a = 1; string b = 2; }");
    keeps("repeated uint32 a = 1;", "repeated uint32 a = 1 [packed = false];");
}

#[test]
fn names_are_of_code_alone() {
    breaks_source("string a = 1;", "reserved 1;", "its number is reserved");
    breaks_source("string a = 1;", "string b = 1;", "it is named `b` now");
    breaks_source("string a = 1;", "optional string a = 1;", "`optional`");
    breaks_source("string a = 1;", "oneof x { string a = 1; }", "`oneof`");
    breaks_source("E a = 1;", "int32 a = 1;", "one form on the wire");
    let old = described("message M { A a = 1; } message A { string x = 1; }");
    let renamed = described("message M { B a = 1; } message B { string x = 1; }");
    let found = compare(&old, &renamed).unwrap();
    assert!(found.is_compatible(), "{found}");
    assert_eq!(
        told(&found.source),
        [
            "shop.v1.A: the message is gone, or has another name",
            "shop.v1.M.a: its type is `shop.v1.B` now, and was `shop.v1.A`"
        ]
    );
    let other = described("message M { B a = 1; } message B { uint32 x = 1; }");
    assert_eq!(told(&compare(&old, &other).unwrap().breaking).len(), 1);
}

#[test]
fn values_of_enums_are_numbers_too() {
    let of = |values: &str| described(&format!("enum Kind {{ {values} }}"));
    let found = compare(&of("A = 0; B = 1; C = 2; D = 3;"), &of("A = 0; X = 1; D = 4; E = 5;")).unwrap();
    assert_eq!(
        told(&found.breaking),
        [
            "shop.v1.Kind.C: the value is gone, and its number is not reserved (`reserved 2;`): another could take it",
            "shop.v1.Kind.D: its number was 3 and is 4 now",
        ]
    );
    assert_eq!(told(&found.source), ["shop.v1.Kind.B: it is named `X` now; JSON has it by that name too"]);
    assert_eq!(told(&found.compatible), ["shop.v1.Kind.E: there is a value more"]);
    assert!(compare(&of("A = 0; B = 1;"), &of("reserved 1; A = 0;")).unwrap().is_compatible());
}

const SERVICE: &str = "message A {} message B { string x = 1; }
    service S { rpc One(A) returns (A); rpc Many(A) returns (stream A); rpc Gone(A) returns (A); }";

#[test]
fn callers_call_a_service_by_its_package_and_its_methods() {
    let old = described(SERVICE);
    let new = described(
        "message A {} message B { string x = 1; }
        service S { rpc One(stream A) returns (A); rpc Many(A) returns (A); rpc More(B) returns (A); }",
    );
    let found = compare(&old, &new).unwrap();
    assert_eq!(
        told(&found.breaking),
        [
            "shop.v1.S.One: callers sent one message, and it is to be a stream of messages now",
            "shop.v1.S.Many: the service sent a stream of messages, and it is to be one message now",
            "shop.v1.S.Gone: the method is gone",
        ]
    );
    assert_eq!(told(&found.compatible), ["shop.v1.S.More: there is a method more"]);
    let moved = compare(&old, &described_as("shop.v2", "proto3", SERVICE)).unwrap();
    assert_eq!(
        told(&moved.breaking),
        ["shop.v1.S: callers call it as `/shop.v1.S/...`, and it answers as `/shop.v2.S/...`"]
    );
    let gone = compare(&old, &described("")).unwrap();
    assert_eq!(told(&gone.breaking), ["shop.v1.S: the service is gone"]);
}

#[test]
fn a_method_may_take_a_message_of_another_name_that_is_written_alike() {
    let of = |takes: &str| {
        described(&format!(
            "message A {{ string x = 1; }} message B {{ string x = 1; }} message C {{ uint32 x = 1; }}
             service S {{ rpc One({takes}) returns (A); }}"
        ))
    };
    let alike = compare(&of("A"), &of("B")).unwrap();
    assert!(alike.is_compatible(), "{alike}");
    assert_eq!(told(&alike.source), ["shop.v1.S.One: the request is `shop.v1.B` now, and was `shop.v1.A`"]);
    assert!(!compare(&of("A"), &of("C")).unwrap().is_compatible());
}

#[test]
fn what_proto2_requires_and_supposes_is_kept() {
    let of = |fields: &str| described_as("shop.v1", "proto2", &format!("message M {{ {fields} }}"));
    for (old, new, why) in [
        ("optional string a = 1;", "required string a = 1;", "required on one side"),
        ("", "required string a = 1;", "leave it out"),
        ("required string a = 1;", "reserved 1;", "can't do without"),
        ("optional uint32 a = 1 [default = 5];", "optional uint32 a = 1;", "another value"),
    ] {
        let found = compare(&of(old), &of(new)).unwrap();
        assert!(told(&found.breaking).iter().any(|told| told.contains(why)), "{old} -> {new}: {found}");
    }
}

#[test]
fn a_description_fits_itself_and_messages_may_contain_themselves() {
    let one = described(
        "message Tree { repeated Tree children = 1; map<string, Tree> named = 2; optional Kind kind = 3;
            oneof of { string text = 4; Leaf leaf = 5; } message Leaf { Tree parent = 1; } enum Kind { NONE = 0; } }
         service Trees { rpc Grow(stream Tree) returns (stream Tree.Leaf); }",
    );
    assert_eq!(compare(&one, &one).unwrap(), Comparison::default());
}

#[test]
fn a_chain_of_messages_is_followed_however_long_it_is() {
    let chain = |last: &str| {
        let links: String =
            (0..5_000).map(|link| format!("message M{link} {{ M{} next = 1; }}\n", link + 1)).collect();
        described(&format!("{links}message M5000 {{ {last} next = 1; }}"))
    };
    let found = compare(&chain("string"), &chain("uint32")).unwrap();
    assert_eq!(found.breaking.len(), 1);
}

#[test]
fn bytes_that_are_no_descriptors_are_refused() {
    assert!(Descriptors::decode(b"\xff\xff\xff").is_err());
    assert_eq!(Descriptors::decode(b"").unwrap(), Descriptors::default());
}
