//! Enums, value by value: by their numbers.

use prost_types::{EnumDescriptorProto, EnumValueDescriptorProto};

use super::{Walk, joined};
use crate::document::Unreadable;

impl<'d> Walk<'d> {
    pub(super) fn enums(&mut self, old: &'d str, new: &'d str) -> Result<(), Unreadable> {
        let (Some(was), Some(is)) = (self.old.enums.get(old), self.new.enums.get(new)) else {
            return Ok(());
        };
        if !self.is_new(old, new)? {
            return Ok(());
        }
        for value in &was.value {
            let (place, number) = (joined(old, value.name()), value.number());
            let at = format!("/enums/{old}/values/{number}");
            let same = |other: &&EnumValueDescriptorProto| other.number() == number;
            match is.value.iter().find(same) {
                // With `allow_alias` several names have one number: the old one may be among them.
                Some(_) if names(is, number).any(|name| name == value.name()) => {}
                Some(now) => {
                    let why = format!("it is named `{}` now; JSON has it by that name too", now.name());
                    self.source(&place, &at, why);
                }
                None => self.value_gone(&place, &at, value, is),
            }
        }
        if let (Some(first), Some(now)) = (was.value.first(), is.value.first())
            && first.number() != now.number()
        {
            let (before, after) = (Some(shown(first)), Some(shown(now)));
            let why = "the first value is what a missing one is read as (proto2)";
            self.breaking(old, &format!("/enums/{old}"), before, after, why);
        }
        for value in is.value.iter().filter(|value| names(was, value.number()).next().is_none()) {
            if was.value.iter().any(|had| had.name() == value.name()) {
                continue;
            }
            let (place, at) = (joined(old, value.name()), format!("/enums/{old}/values/{}", value.number()));
            self.compatible(&place, &at, None, Some(shown(value)), "there is a value more");
        }
        Ok(())
    }

    fn value_gone(
        &mut self,
        place: &str,
        at: &str,
        value: &EnumValueDescriptorProto,
        is: &EnumDescriptorProto,
    ) {
        let number = value.number();
        if let Some(moved) = is.value.iter().find(|other| other.name() == value.name()) {
            let why = format!("its number was {number} and is {} now", moved.number());
            return self.breaking(place, at, Some(shown(value)), Some(shown(moved)), why);
        }
        // Here the end is part of the range.
        let is_reserved =
            is.reserved_range.iter().any(|range| (range.start()..=range.end()).contains(&number));
        if is_reserved {
            self.source(place, at, "the value is gone, and its number is reserved");
        } else {
            let why = format!(
                "the value is gone, and its number is not reserved (`reserved {number};`): another could take it"
            );
            self.breaking(place, at, Some(shown(value)), None, why);
        }
    }
}

fn names(of: &EnumDescriptorProto, number: i32) -> impl Iterator<Item = &str> {
    of.value.iter().filter(move |value| value.number() == number).map(EnumValueDescriptorProto::name)
}

fn shown(value: &EnumValueDescriptorProto) -> String {
    format!("{} = {}", value.name(), value.number())
}
