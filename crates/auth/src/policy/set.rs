//! A set of policies that was checked, and decides.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    str::FromStr as _,
    sync::Arc,
};

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision as Verdict, Entities, Entity, EntityId, EntityTypeName,
    EntityUid, Policy as Cedar, PolicyId, PolicySet, Request, Schema, SchemaFragment, ValidationMode,
    Validator,
};
use mainstay_core::error::Report;
use miette::Diagnostic;
use serde_json::{Map, Value, json};

use super::{
    Config, Decision, Effect, Explanation, Outcome, Policy, Question, Resource,
    entities::{Static, referenced, uid_of},
    index::{self, Action, Group},
    nesting::{self, Language},
    principal::Principals,
    source::{Source, Text, Wrong},
};
use crate::Principal;

/// More policies are not read.
pub(super) const MOST: usize = 20_000;

/// Of the thread that reads them, in bytes; not touched unless it is needed.
const STACK: usize = 64 << 20;

/// So many mistakes are told at once.
const MOST_TOLD: usize = 20;

/// Policies, schema and entities that go together. Never changes.
#[derive(Debug)]
pub(super) struct Set {
    schema: Schema,
    principals: Principals,
    entities: Static,
    kinds: HashMap<String, EntityTypeName>,
    actions: HashMap<String, Action>,
    policies: HashMap<String, Arc<Policy>>,
    authorizer: Authorizer,
}

/// An entity of a question.
struct Part {
    uid: EntityUid,
    /// `None` where it is a type and an id alone.
    entity: Option<Entity>,
    lineage: Vec<EntityUid>,
    /// What it names, where entities are configured.
    names: Vec<EntityUid>,
}

impl Set {
    /// Understands and checks what was read. Blocks.
    pub(super) fn understand(source: &Source, config: &Config) -> Result<Self, Wrong> {
        // Cedar reads by recursion, which the bounds on nesting keep within this; the stack of whoever calls may be small.
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().name("policies".to_owned()).stack_size(STACK);
            let reading = reader.spawn_scoped(scope, || Self::of(source, config));
            let reading = reading.map_err(|error| ("paths", error.to_string()))?;
            reading
                .join()
                .unwrap_or_else(|_| Err(("paths", "they can't be read: the reader panicked".to_owned())))
        })
    }

    fn of(source: &Source, config: &Config) -> Result<Self, Wrong> {
        let told = |key| {
            move |mut wrong: Vec<String>| {
                let more = wrong.len().saturating_sub(MOST_TOLD);
                wrong.truncate(MOST_TOLD);
                if more > 0 {
                    wrong.push(format!("and {more} more"));
                }
                (key, wrong.join("; "))
            }
        };
        let (schema, json) = read_schema(&source.schema).map_err(told("schema"))?;
        let principals = Principals::of(config, &schema, &json, &source.schema).map_err(told("schema"))?;
        let (written, policies) = read_policies(&source.policies).map_err(told("paths"))?;
        check(&schema, &source.policies, &written, &policies).map_err(told("paths"))?;
        let entities = Static::read(source.entities.as_ref(), &schema, &principals);
        let entities = entities.map_err(told("entities"))?;
        let actions = index::actions(&schema, &config.namespace, &written);
        let actions = actions.map_err(|error| ("paths", error))?;
        // Types may be named without the namespace.
        let mut kinds = HashMap::new();
        for kind in schema.entity_types() {
            kinds.insert(kind.to_string(), kind.clone());
            if !config.namespace.is_empty() && kind.namespace() == config.namespace {
                kinds.insert(kind.basename().to_owned(), kind.clone());
            }
        }
        Ok(Self { schema, principals, entities, kinds, actions, policies, authorizer: Authorizer::new() })
    }

    /// What there is: policies, actions, entities.
    pub(super) fn size(&self) -> [usize; 3] {
        [self.policies.len(), self.actions.len(), self.entities.len()]
    }

    /// All policies, by file and line.
    pub(super) fn policies(&self) -> Vec<&Policy> {
        let mut all: Vec<_> = self.policies.values().map(|policy| &**policy).collect();
        all.sort_by_key(|policy| (&policy.file, policy.line));
        all
    }

    /// Whether it may be done, and why.
    pub(super) fn decide(&self, question: &Question<'_>) -> Decision {
        self.answer(question).map_or_else(Decision::invalid, |(decision, _)| decision)
    }

    /// The same, with what it was made from.
    pub(super) fn explain(&self, question: &Question<'_>) -> Explanation {
        let written = |part: Result<Part, String>| part.map(|part| part.written()).unwrap_or_default();
        let (decision, groups) =
            self.answer(question).unwrap_or_else(|error| (Decision::invalid(error), Vec::new()));
        let evaluated = groups.iter().flat_map(|group| group.policies.policies());
        let mut evaluated: Vec<_> = evaluated.filter_map(|policy| self.policy(policy.id())).collect();
        evaluated.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        Explanation {
            decision,
            evaluated,
            principal: written(self.principal(question.principal)),
            resource: written(self.resource(question.resource)),
        }
    }

    /// The decision, and the policies that were evaluated; what is wrong with the question.
    fn answer(&self, question: &Question<'_>) -> Result<(Decision, Vec<&Group>), String> {
        let action = self
            .actions
            .get(question.action)
            .ok_or_else(|| format!("the schema has no action `{}`", question.action))?;
        let principal = self.principal(question.principal)?;
        let resource = self.resource(question.resource)?;
        let context = if question.context.is_empty() {
            Context::empty()
        } else {
            let context = Value::Object(question.context.clone());
            Context::from_json_value(context, Some((&self.schema, &action.uid)))
                .map_err(|error| Report::new(&error).to_string())?
        };
        let uids = (principal.uid.clone(), action.uid.clone(), resource.uid.clone());
        let request = Request::new(uids.0, uids.1, uids.2, context, Some(&self.schema))
            .map_err(|error| Report::new(&error).to_string())?;
        let groups = action.groups(principal.all(), resource.all());
        let entities = self.around(action, &groups, principal, resource, &question.context)?;
        Ok((self.evaluate(&request, &groups, &entities), groups))
    }

    /// The principal as an entity, checked against the schema.
    fn principal(&self, principal: &Principal) -> Result<Part, String> {
        let (kind, id) = self.principals.identify(principal)?;
        let uid = EntityUid::from_type_name_and_id(kind.parsed.clone(), EntityId::new(&id));
        let mut attributes = kind.attributes(principal);
        let mut parents = kind.parents(principal);
        if let Some(configured) = self.entities.principal(&uid) {
            parents.extend(configured.parents.iter().cloned());
            for (name, value) in &configured.attributes {
                // What the token says goes first.
                attributes.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self.part(uid, &kind.name, &id, attributes, parents)
    }

    fn resource(&self, resource: &Resource) -> Result<Part, String> {
        let Resource { kind, id, attributes, parents } = resource;
        let parsed = self.kinds.get(kind.as_str());
        let parsed = parsed.ok_or_else(|| format!("the schema has no entity type `{kind}`"))?;
        let uid = EntityUid::from_type_name_and_id(parsed.clone(), EntityId::new(id));
        if attributes.is_empty() && parents.is_empty() {
            let lineage = self.entities.ancestors(&uid);
            let names = vec![uid.clone()];
            return Ok(Part { uid, entity: None, lineage, names });
        }
        let name = |kind: &str| self.kinds.get(kind).map_or_else(|| kind.to_owned(), ToString::to_string);
        let mut attributes = attributes.clone();
        let mut parents: Vec<_> =
            parents.iter().map(|parent| json!({ "type": name(&parent.kind), "id": parent.id })).collect();
        if let Some(configured) = self.entities.written(&uid) {
            parents.extend(configured.parents.iter().cloned());
            for (name, value) in &configured.attributes {
                attributes.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self.part(uid, &parsed.to_string(), id, attributes, parents)
    }

    /// An entity of JSON, which is read by the types of the schema.
    fn part(
        &self,
        uid: EntityUid,
        kind: &str,
        id: &str,
        attributes: Map<String, Value>,
        parents: Vec<Value>,
    ) -> Result<Part, String> {
        if let Some((name, _)) = attributes.iter().find(|(_, value)| has_fraction(value)) {
            return Err(format!("`{name}` of `{kind}`: expected a whole number, or a text for a `decimal`"));
        }
        let lineage = self.entities.lineage(parents.iter().filter_map(uid_of).collect());
        let written = Map::from_iter([
            ("uid".to_owned(), json!({ "type": kind, "id": id })),
            ("attrs".to_owned(), Value::Object(attributes)),
            ("parents".to_owned(), Value::Array(parents)),
        ]);
        let (written, mut names) = (Value::Object(written), Vec::new());
        if !self.entities.is_empty() {
            referenced(&written, &mut |uid| names.push(uid));
        }
        let entity = Entity::from_json_value(written, Some(&self.schema))
            .map_err(|error| Report::new(&error).to_string())?;
        Ok(Part { uid, entity: Some(entity), lineage, names })
    }

    /// All entities that these groups can look at.
    fn around(
        &self,
        action: &Action,
        groups: &[&Group],
        principal: Part,
        resource: Part,
        context: &Map<String, Value>,
    ) -> Result<Entities, String> {
        let mut given: Vec<_> = action.entities.clone();
        let mut reached = Vec::new();
        if !self.entities.is_empty() {
            let mut roots: Vec<_> = groups.iter().flat_map(|group| group.named.iter().cloned()).collect();
            roots.extend([&principal, &resource].into_iter().flat_map(|part| part.names.iter().cloned()));
            context.values().for_each(|value| referenced(value, &mut |uid| roots.push(uid)));
            reached = self.entities.reached(roots);
            // What the question has of one is more than what is configured of it.
            let given = [&principal, &resource].map(|part| part.entity.as_ref().map(|_| &part.uid));
            reached.retain(|entity| !given.contains(&Some(&entity.uid())));
        }
        let same = principal.uid == resource.uid;
        given.extend(principal.entity);
        // Somebody's own account: it is who they are, whatever is said of it besides.
        given.extend(resource.entity.filter(|_| !same));
        given.extend(reached);
        Entities::from_entities(given, None).map_err(|error| Report::new(&error).to_string())
    }

    fn evaluate(&self, request: &Request, groups: &[&Group], entities: &Entities) -> Decision {
        let (mut permitted, mut forbidden, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for group in groups.iter().filter(|group| !group.policies.is_empty()) {
            let response = self.authorizer.is_authorized(request, &group.policies, entities);
            let reasons = response.diagnostics().reason().filter_map(|id| self.policy(id));
            match response.decision() {
                Verdict::Allow => permitted.extend(reasons),
                Verdict::Deny => forbidden.extend(reasons),
            }
            for error in response.diagnostics().errors() {
                errors.push(error.to_string());
                let AuthorizationError::PolicyEvaluationError(error) = error;
                // Cedar passes over what can't be evaluated. Of a policy that forbids that would let in.
                let policy = self.policy(error.policy_id());
                forbidden.extend(policy.filter(|policy| policy.effect == Effect::Forbid));
            }
        }
        let (outcome, policies) = match (forbidden.is_empty(), permitted.is_empty()) {
            (false, _) => (Outcome::Forbid, forbidden),
            (true, false) => (Outcome::Permit, permitted),
            (true, true) => (Outcome::NoPermit, Vec::new()),
        };
        Decision { outcome, policies, errors }
    }

    fn policy(&self, id: &PolicyId) -> Option<Arc<Policy>> {
        let id: &str = id.as_ref();
        self.policies.get(id).cloned()
    }
}

impl Part {
    /// In Cedar's JSON.
    fn written(&self) -> Value {
        let entity = self.entity.as_ref().and_then(|entity| entity.to_json_value().ok());
        entity.unwrap_or_else(|| {
            json!({ "uid": { "type": self.uid.type_name().to_string(), "id": self.uid.id().unescaped() } })
        })
    }

    /// It and all that it is in.
    fn all(&self) -> impl Iterator<Item = &EntityUid> {
        [&self.uid].into_iter().chain(&self.lineage)
    }
}

/// Cedar has no such numbers, and says of them only that they are none of its values.
fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_i64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        _ => false,
    }
}

/// The schema, and the same as JSON.
fn read_schema(text: &Text) -> Result<(Schema, Value), Vec<String>> {
    nesting::check(text, Language::Schema).map_err(|wrong| vec![wrong])?;
    let is_json = Path::new(&text.name).extension().is_some_and(|extension| extension == "json");
    let read = || {
        if is_json {
            return SchemaFragment::from_json_str(&text.text).map_err(|error| vec![told(text, &error)]);
        }
        match SchemaFragment::from_cedarschema_str(&text.text) {
            Ok((fragment, warnings)) => {
                warnings.for_each(
                    |warning| tracing::warn!(schema = text.name, %warning, "the schema of policies"),
                );
                Ok(fragment)
            }
            Err(error) => Err(vec![told(text, &error)]),
        }
    };
    // Made of the same text twice: a fragment is used up by either.
    let json = read()?.to_json_value().map_err(|error| vec![told(text, &error)])?;
    let schema = Schema::from_schema_fragments([read()?]).map_err(|error| vec![told(text, &error)])?;
    Ok((schema, json))
}

/// All policies, each with an id of its own.
#[expect(clippy::type_complexity, reason = "one pair, used once")]
fn read_policies(texts: &[Text]) -> Result<(Vec<Cedar>, HashMap<String, Arc<Policy>>), Vec<String>> {
    let (mut written, mut known) = (Vec::new(), HashMap::<String, Arc<Policy>>::new());
    let mut wrong = Vec::new();
    for text in texts {
        if let Err(error) = nesting::check(text, Language::Policies) {
            wrong.push(error);
            continue;
        }
        let set = match PolicySet::from_str(&text.text) {
            Ok(set) => set,
            Err(errors) => {
                wrong.extend(errors.iter().map(|error| told(text, error)));
                continue;
            }
        };
        for template in set.templates() {
            let line = text.line(text.text.find(&template.to_string()).unwrap_or_default());
            wrong.push(format!("{}:{line}: expected no template: nothing links one here", text.name));
        }
        let mut policies: Vec<_> = set.policies().collect();
        // `policy10` stands behind `policy9`.
        policies.sort_by_key(|policy| {
            policy.id().to_string().trim_start_matches("policy").parse::<usize>().unwrap_or(usize::MAX)
        });
        if written.len() + policies.len() > MOST {
            wrong.push(format!("{}: there are more than {MOST} policies", text.name));
            break;
        }
        let (mut from, mut line) = (0, 1);
        for (index, policy) in policies.into_iter().enumerate() {
            let rest = text.text.get(from..).unwrap_or_default();
            let before = rest.get(..rest.find(&policy.to_string()).unwrap_or_default()).unwrap_or_default();
            line += before.matches('\n').count();
            from += before.len();
            let file = Path::new(&text.name)
                .file_name()
                .map_or_else(Default::default, |name| name.display().to_string());
            let id = match policy.annotation("id") {
                Some(id) if !id.is_empty() => id.to_owned(),
                _ => format!("{file}#{}", index + 1),
            };
            let effect = match policy.effect() {
                cedar_policy::Effect::Permit => Effect::Permit,
                cedar_policy::Effect::Forbid => Effect::Forbid,
            };
            let entry = Policy { id: id.clone(), effect, file: text.name.clone(), line };
            if let Some(other) = known.insert(id.clone(), Arc::new(entry)) {
                wrong.push(format!(
                    "{}:{line}: expected an id of its own: `{id}` is also that of {}:{}",
                    text.name, other.file, other.line
                ));
            }
            written.push(policy.new_id(PolicyId::new(id)));
            let length = policy.to_string().len();
            line += rest.get(before.len()..before.len() + length).unwrap_or_default().matches('\n').count();
            from += length;
        }
    }
    if wrong.is_empty() { Ok((written, known)) } else { Err(wrong) }
}

/// Checks the policies against the schema, strictly.
fn check(
    schema: &Schema,
    texts: &[Text],
    written: &[Cedar],
    known: &HashMap<String, Arc<Policy>>,
) -> Result<(), Vec<String>> {
    let all = PolicySet::from_policies(written.iter().cloned()).map_err(|error| vec![error.to_string()])?;
    let result = Validator::new(schema.clone()).validate(&all, ValidationMode::Strict);
    let place = |id: &PolicyId, said: &dyn Diagnostic| {
        let id: &str = id.as_ref();
        let policy = known.get(id);
        let file = policy.map_or("", |policy| policy.file.as_str());
        let text = texts.iter().find(|text| text.name == file);
        let line = text.and_then(|text| Some(text.line(offset(said)?)));
        let line = line.or(policy.map(|policy| policy.line)).unwrap_or(1);
        let what = said.to_string();
        let what = what.strip_prefix(&format!("for policy `{id}`, ")).unwrap_or(&what);
        (line, format!("{file}:{line}: policy `{id}`: {what}{}", help(said)))
    };
    for warning in result.validation_warnings() {
        let (_, warning) = place(warning.policy_id(), warning);
        tracing::warn!(warning, "a policy is doubtful");
    }
    let mut wrong: Vec<_> = result.validation_errors().map(|error| place(error.policy_id(), error)).collect();
    // Found in no order that stays.
    wrong.sort();
    let wrong: BTreeSet<_> = wrong.into_iter().map(|(_, what)| what).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into_iter().collect()) }
}

/// `orders.cedar:3: unexpected token …, expected …`.
fn told(text: &Text, said: &dyn Diagnostic) -> String {
    let line = offset(said).map_or_else(String::new, |offset| format!(":{}", text.line(offset)));
    let label = said.labels().and_then(|mut labels| labels.next()?.label().map(ToOwned::to_owned));
    let label = label.map_or_else(String::new, |label| format!(": {label}"));
    let mut what = said.to_string();
    let mut source = said.source();
    while let Some(cause) = source {
        what.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    format!("{}{line}: {what}{label}{}", text.name, help(said))
}

fn offset(said: &dyn Diagnostic) -> Option<usize> {
    said.labels()?.next().map(|label| label.offset())
}

fn help(said: &dyn Diagnostic) -> String {
    said.help().map_or_else(String::new, |help| format!(" ({help})"))
}
