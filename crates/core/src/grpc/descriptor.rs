//! The description of `grpc.health.v1`, for reflection: that of tonic-health, and `List`.

use prost::Message;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet, MessageOptions, MethodDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// The encoded `FileDescriptorSet` of `grpc/health/v1/health.proto`.
pub(super) fn health() -> Vec<u8> {
    let base = tonic_health::pb::FILE_DESCRIPTOR_SET;
    let Ok(mut set) = FileDescriptorSet::decode(base) else { return base.to_vec() };
    for file in &mut set.file {
        for service in &mut file.service {
            if service.method.iter().all(|method| method.name() != "List") {
                service.method.push(list());
                file.message_type.extend(messages());
            }
        }
    }
    set.encode_to_vec()
}

fn list() -> MethodDescriptorProto {
    MethodDescriptorProto {
        name: Some("List".to_owned()),
        input_type: Some(".grpc.health.v1.HealthListRequest".to_owned()),
        output_type: Some(".grpc.health.v1.HealthListResponse".to_owned()),
        ..Default::default()
    }
}

/// `HealthListRequest {}` and `HealthListResponse { map<string, HealthCheckResponse> statuses = 1; }`.
fn messages() -> [DescriptorProto; 2] {
    let request = DescriptorProto { name: Some("HealthListRequest".to_owned()), ..Default::default() };
    let entry = DescriptorProto {
        name: Some("StatusesEntry".to_owned()),
        field: vec![
            field("key", 1, Type::String, None, Label::Optional),
            field("value", 2, Type::Message, Some(".grpc.health.v1.HealthCheckResponse"), Label::Optional),
        ],
        options: Some(MessageOptions { map_entry: Some(true), ..Default::default() }),
        ..Default::default()
    };
    let entries = ".grpc.health.v1.HealthListResponse.StatusesEntry";
    let response = DescriptorProto {
        name: Some("HealthListResponse".to_owned()),
        field: vec![field("statuses", 1, Type::Message, Some(entries), Label::Repeated)],
        nested_type: vec![entry],
        ..Default::default()
    };
    [request, response]
}

fn field(name: &str, number: i32, kind: Type, type_name: Option<&str>, label: Label) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(kind.into()),
        type_name: type_name.map(str::to_owned),
        label: Some(label.into()),
        json_name: Some(name.to_owned()),
        ..Default::default()
    }
}
