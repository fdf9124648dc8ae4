//! Messages, field by field: by their numbers, which is what is on the wire.

use prost_types::{
    DescriptorProto, FieldDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use super::{Walk, declared, full_name, joined};
use crate::document::Unreadable;

impl<'d> Walk<'d> {
    pub(super) fn messages(&mut self, old: &'d str, new: &'d str) -> Result<(), Unreadable> {
        let (Some(was), Some(is)) = (self.old.messages.get(old), self.new.messages.get(new)) else {
            // Imported, and not among the descriptors: the same one as far as its name tells.
            if old != new {
                let why = format!("it is `{new}` now, and one of the two is not described");
                self.breaking(
                    old,
                    &format!("/messages/{old}"),
                    Some(old.to_owned()),
                    Some(new.to_owned()),
                    why,
                );
            }
            return Ok(());
        };
        if !self.is_new(old, new)? {
            return Ok(());
        }
        for field in &was.field {
            let numbered = is.field.iter().find(|other| other.number() == field.number());
            match numbered {
                Some(now) => self.field(old, (was, field), (is, now))?,
                None => self.gone(old, field, is),
            }
        }
        let is_more =
            |field: &&FieldDescriptorProto| !was.field.iter().any(|had| had.number() == field.number());
        for field in is.field.iter().filter(is_more) {
            // Told already, as one that has another number now.
            if was.field.iter().any(|had| had.name() == field.name()) {
                continue;
            }
            let (place, at) = (joined(old, field.name()), at(old, field));
            let declared = Some(declared::field(field));
            if field.label() == Label::Required {
                self.breaking(
                    &place,
                    &at,
                    None,
                    declared,
                    "it is required, and those who don't know it leave it out",
                );
            } else {
                self.compatible(&place, &at, None, declared, "there is a field more");
            }
        }
        Ok(())
    }

    fn gone(&mut self, message: &str, field: &FieldDescriptorProto, now: &DescriptorProto) {
        let (place, at, number) = (joined(message, field.name()), at(message, field), field.number());
        let was = Some(declared::field(field));
        if let Some(moved) = now.field.iter().find(|other| other.name() == field.name()) {
            let why = format!("its number was {number} and is {} now", moved.number());
            return self.breaking(&place, &at, was, Some(declared::field(moved)), why);
        }
        if field.label() == Label::Required {
            return self.breaking(
                &place,
                &at,
                was,
                None,
                "it is gone, and those who know it can't do without",
            );
        }
        // The end is not part of the range.
        let is_reserved =
            now.reserved_range.iter().any(|range| (range.start()..range.end()).contains(&number));
        if is_reserved {
            self.source(&place, &at, "the field is gone, and its number is reserved");
        } else {
            let why = format!(
                "the field is gone, and its number is not reserved (`reserved {number};`): another could take it"
            );
            self.breaking(&place, &at, was, None, why);
        }
    }

    /// Two fields of one number, each with its message.
    fn field(
        &mut self,
        message: &str,
        (was, old): (&DescriptorProto, &'d FieldDescriptorProto),
        (is, new): (&DescriptorProto, &'d FieldDescriptorProto),
    ) -> Result<(), Unreadable> {
        let (place, at) = (joined(message, old.name()), at(message, old));
        let both = || (Some(declared::field(old)), Some(declared::field(new)));
        let mut wrong = Vec::new();
        if is_repeated(old) != is_repeated(new) {
            wrong.push("one of many, and the only one, are read as each other");
        }
        if (old.label() == Label::Required) != (new.label() == Label::Required) {
            wrong.push("it is required on one side, and may be missing on the other");
        }
        if old.default_value() != new.default_value() {
            wrong.push("where it is missing, both sides take another value for it");
        }
        if joins_others(was, old, is, new) {
            wrong.push("it is one of a `oneof` now with others that it used to be sent with");
        }
        match (old.r#type(), new.r#type()) {
            (Type::Message, Type::Message) | (Type::Group, Type::Group) => {
                let (before, after) = (full_name(old.type_name()), full_name(new.type_name()));
                self.renamed_type(&place, &at, before, after);
                self.left.push((before, after));
            }
            (Type::Enum, Type::Enum) => {
                let (before, after) = (full_name(old.type_name()), full_name(new.type_name()));
                self.renamed_type(&place, &at, before, after);
                self.enums(before, after)?;
            }
            // Written alike.
            (Type::Enum, Type::Int32) | (Type::Int32, Type::Enum) => {
                self.source(&place, &at, "an enum and a number are other types, of one form on the wire");
            }
            (before, after) if before == after => {}
            (before, after) if is_varint(before) && is_varint(after) => {
                wrong.push("the values of one type that the other can't hold are read as other ones");
            }
            _ => wrong.push("what is written as one type can't be read as the other"),
        }
        for why in wrong {
            let (old, new) = both();
            self.breaking(&place, &at, old, new, why);
        }
        if old.name() != new.name() {
            self.source(
                &place,
                &at,
                format!("it is named `{}` now; JSON has it by that name too", new.name()),
            );
        }
        if old.proto3_optional() != new.proto3_optional() {
            self.source(&place, &at, "whether it tells that it is missing (`optional`) has changed");
        } else if old.oneof_index.is_some() != new.oneof_index.is_some() && !joins_others(was, old, is, new) {
            self.source(&place, &at, "whether it is one of a `oneof` has changed");
        }
        Ok(())
    }

    fn renamed_type(&mut self, place: &str, at: &str, old: &str, new: &str) {
        if old != new {
            self.source(place, at, format!("its type is `{new}` now, and was `{old}`"));
        }
    }
}

pub(super) fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

fn at(message: &str, field: &FieldDescriptorProto) -> String {
    format!("/messages/{message}/fields/{}", field.number())
}

fn is_repeated(field: &FieldDescriptorProto) -> bool {
    field.label() == Label::Repeated
}

/// The types that one varint holds, read as different numbers. `sint32` and `sint64` are written otherwise.
fn is_varint(kind: Type) -> bool {
    use Type::{Bool, Enum, Int32, Int64, Uint32, Uint64};
    matches!(kind, Int32 | Int64 | Uint32 | Uint64 | Bool | Enum)
}

/// The fields of the `oneof` that it belongs to, by number; one that is there for `optional` alone is none.
fn alternatives(message: &DescriptorProto, field: &FieldDescriptorProto) -> Vec<i32> {
    let of = field.oneof_index.filter(|_| !field.proto3_optional());
    let together = message.field.iter().filter(|other| of.is_some() && other.oneof_index == of);
    together.map(FieldDescriptorProto::number).filter(|number| *number != field.number()).collect()
}

/// Whether fields that could be sent beside it before push it out now.
fn joins_others(
    was: &DescriptorProto,
    old: &FieldDescriptorProto,
    is: &DescriptorProto,
    new: &FieldDescriptorProto,
) -> bool {
    let before = alternatives(was, old);
    let had = |number: &i32| was.field.iter().any(|field| field.number() == *number);
    alternatives(is, new).iter().any(|number| had(number) && !before.contains(number))
}
