//! Services and their methods: what callers call them by, and what goes in and out.

use prost_types::{MethodDescriptorProto, ServiceDescriptorProto};

use super::{Walk, declared, full_name, joined};

impl<'d> Walk<'d> {
    pub(super) fn services(&mut self) {
        let (old, new) = (self.old, self.new);
        for (name, service) in &old.services {
            let at = format!("/services/{name}");
            if let Some(now) = new.services.get(name) {
                self.methods(name, service, now);
                continue;
            }
            // The path of a call has the full name, the package with it.
            let moved = new
                .services
                .keys()
                .find(|other| last(other) == last(name) && !old.services.contains_key(*other));
            let why = match moved {
                Some(other) => format!("callers call it as `/{name}/...`, and it answers as `/{other}/...`"),
                None => "the service is gone".to_owned(),
            };
            self.breaking(name, &at, Some(name.clone()), moved.cloned(), why);
        }
        for name in new.services.keys().filter(|name| !old.services.contains_key(*name)) {
            self.compatible(
                name,
                &format!("/services/{name}"),
                None,
                Some(name.clone()),
                "there is a service more",
            );
        }
    }

    fn methods(&mut self, service: &str, old: &'d ServiceDescriptorProto, new: &'d ServiceDescriptorProto) {
        let at = |method: &MethodDescriptorProto| format!("/services/{service}/methods/{}", method.name());
        let named = |methods: &'d [MethodDescriptorProto], name: &str| {
            methods.iter().find(|method| method.name() == name)
        };
        for method in &old.method {
            let (place, at) = (joined(service, method.name()), at(method));
            let was = Some(declared::method(method));
            let Some(now) = named(&new.method, method.name()) else {
                self.breaking(&place, &at, was, None, "the method is gone");
                continue;
            };
            let is = Some(declared::method(now));
            let streams = [
                ("callers", method.client_streaming(), now.client_streaming()),
                ("the service", method.server_streaming(), now.server_streaming()),
            ];
            for (who, before, after) in streams.into_iter().filter(|(_, before, after)| before != after) {
                let count = |streams| if streams { "a stream of messages" } else { "one message" };
                let why = format!("{who} sent {}, and it is to be {} now", count(before), count(after));
                self.breaking(&place, &at, was.clone(), is.clone(), why);
            }
            for (what, before, after) in [
                ("request", method.input_type(), now.input_type()),
                ("answer", method.output_type(), now.output_type()),
            ] {
                let (before, after) = (full_name(before), full_name(after));
                if before != after {
                    self.source(&place, &at, format!("the {what} is `{after}` now, and was `{before}`"));
                }
                self.left.push((before, after));
            }
        }
        for method in new.method.iter().filter(|method| named(&old.method, method.name()).is_none()) {
            let (place, is) = (joined(service, method.name()), Some(declared::method(method)));
            self.compatible(&place, &at(method), None, is, "there is a method more");
        }
    }
}

/// A name without its package.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
