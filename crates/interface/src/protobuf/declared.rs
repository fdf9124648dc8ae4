//! Fields and methods as they are written in a `.proto` file.

use prost_types::{
    FieldDescriptorProto, MethodDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use super::full_name;

/// `repeated shop.v1.Line lines = 2`
pub(super) fn field(field: &FieldDescriptorProto) -> String {
    let label = match field.label() {
        Label::Repeated => "repeated ",
        Label::Required => "required ",
        Label::Optional if field.proto3_optional() => "optional ",
        Label::Optional => "",
    };
    format!("{label}{} {} = {}", kind(field), field.name(), field.number())
}

/// `rpc Watch(shop.v1.Query) returns (stream shop.v1.Item)`
pub(super) fn method(method: &MethodDescriptorProto) -> String {
    let side =
        |streams: bool, name: &str| format!("({}{})", if streams { "stream " } else { "" }, full_name(name));
    let takes = side(method.client_streaming(), method.input_type());
    format!("rpc {}{takes} returns {}", method.name(), side(method.server_streaming(), method.output_type()))
}

/// The type as it is written: `sint32`, or the name of a message or an enum.
fn kind(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum | Type::Group => full_name(field.type_name()).to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_ascii_lowercase(),
    }
}
