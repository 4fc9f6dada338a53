//! JSON schemas of what the API answers, made from the types that it answers with.
//!
//! [`described!`] takes the fields of a type by name, all of them: a field that is added to the type and not here does
//! not compile. What serde's attributes make of a field can't be seen here, so a test validates each operation's
//! answers against the document.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use backline_model::bulk::{BulkAction, BulkState};
use backline_model::outcome::OutcomeKind;
use backline_model::row::QuarantineStatus;
use backline_model::{
    AccountId, AccountStatus, ArtistId, BatchId, BatchState, CredentialId, DeliveryState, Digest, DocumentId,
    MetricName, Platform, ReleaseState, Role, RunId, RunStatus, SubscriptionStatus, Tenant, TokenId, TokenState,
    WebhookId, WebhookKind, Zone,
};

/// The schemas that the document names, by name.
pub(super) type Components = BTreeMap<String, Json>;

/// A field of an object, as it is in JSON.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) schema: Json,
    pub(super) required: bool,
}

/// What has a JSON schema.
pub(super) trait Described {
    /// The schema, or a reference to it among the components, where it then is.
    fn refer(components: &mut Components) -> Json;

    /// The fields, of a type that is an object: for a type that takes them in as its own.
    fn fields(_: &mut Components) -> Vec<Field> {
        Vec::new()
    }
}

/// An object that has these fields and no others.
pub(super) fn object(fields: Vec<Field>) -> Json {
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let properties: Map<String, Json> = fields.into_iter().map(|field| (field.name.to_owned(), field.schema)).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// Puts a schema among the components under a name, once; returns a reference to it.
pub(super) fn component(components: &mut Components, name: &str, schema: impl FnOnce(&mut Components) -> Json) -> Json {
    if !components.contains_key(name) {
        components.insert(name.to_owned(), Json::Null);
        let schema = schema(components);
        components.insert(name.to_owned(), schema);
    }
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Describes a type by its fields. Before a field may stand `[optional]`, where JSON leaves it out at times,
/// `[flatten]`, where JSON has its fields instead of it, and `["name"]`, where JSON has another name.
macro_rules! described {
    ($($name:ident { $($([$mark:tt])? $field:ident: $type:ty),* $(,)? })*) => {
        $(impl Described for $name {
            fn refer(components: &mut Components) -> ::serde_json::Value {
                component(components, stringify!($name), |components| object(Self::fields(components)))
            }

            fn fields(components: &mut Components) -> Vec<Field> {
                // All fields, each of the type that is described.
                let _: fn(&Self) = |all| {
                    let Self { $($field),* } = all;
                    let _: ($(&$type,)*) = ($($field,)*);
                };
                let mut fields = Vec::new();
                $(fields.extend(described!(@field components, $([$mark])? $field: $type));)*
                fields
            }
        })*
    };
    (@field $components:ident, [optional] $field:ident: $type:ty) => {
        [Field { name: stringify!($field), schema: <$type as Described>::refer($components), required: false }]
    };
    (@field $components:ident, [flatten] $field:ident: $type:ty) => {
        <$type as Described>::fields($components)
    };
    (@field $components:ident, [$name:literal] $field:ident: $type:ty) => {
        [Field { name: $name, schema: <$type as Described>::refer($components), required: true }]
    };
    (@field $components:ident, $field:ident: $type:ty) => {
        [Field { name: stringify!($field), schema: <$type as Described>::refer($components), required: true }]
    };
}

/// Describes types that are one JSON value.
macro_rules! plain {
    ($($type:ty => $schema:tt,)*) => {
        $(impl Described for $type {
            fn refer(_: &mut Components) -> ::serde_json::Value {
                ::serde_json::json!($schema)
            }
        })*
    };
}

pub(super) use {described, plain};

plain! {
    String => { "type": "string" },
    &'static str => { "type": "string" },
    bool => { "type": "boolean" },
    i64 => { "type": "integer" },
    u16 => { "type": "integer", "minimum": 0 },
    u32 => { "type": "integer", "minimum": 0 },
    u64 => { "type": "integer", "minimum": 0 },
    f64 => { "type": "number" },
    DateTime<Utc> => { "type": "string", "format": "date-time" },
    NaiveDate => { "type": "string", "format": "date" },
    Uuid => { "type": "string", "format": "uuid" },
    AccountId => { "type": "string", "format": "uuid" },
    ArtistId => { "type": "string", "format": "uuid" },
    BatchId => { "type": "string", "format": "uuid" },
    CredentialId => { "type": "string", "format": "uuid" },
    DocumentId => { "type": "string", "format": "uuid" },
    RunId => { "type": "string", "format": "uuid" },
    TokenId => { "type": "string", "format": "uuid" },
    WebhookId => { "type": "string", "format": "uuid" },
    Digest => { "type": "string", "pattern": "^[0-9a-f]{64}$" },
    Platform => { "type": "string", "maxLength": 64 },
    Tenant => { "type": "string", "maxLength": 64 },
    MetricName => { "type": "string", "maxLength": 64 },
    Zone => { "type": "string" },
    // Anything.
    Json => {},
}

/// Describes enums by the names that JSON has for their variants.
macro_rules! named {
    ($($type:ty,)*) => {
        $(impl Described for $type {
            fn refer(_: &mut Components) -> Json {
                let names: Vec<&str> = Self::ALL.iter().map(|one| one.as_str()).collect();
                json!({ "type": "string", "enum": names })
            }
        })*
    };
}

named! {
    AccountStatus, BatchState, BulkAction, BulkState, DeliveryState, OutcomeKind, QuarantineStatus, ReleaseState, Role,
    RunStatus, SubscriptionStatus, TokenState, WebhookKind,
}

impl<T: Described> Described for Option<T> {
    fn refer(components: &mut Components) -> Json {
        json!({ "anyOf": [T::refer(components), { "type": "null" }] })
    }
}

impl<T: Described> Described for Vec<T> {
    fn refer(components: &mut Components) -> Json {
        json!({ "type": "array", "items": T::refer(components) })
    }
}

impl<K, T: Described> Described for BTreeMap<K, T> {
    fn refer(components: &mut Components) -> Json {
        json!({ "type": "object", "additionalProperties": T::refer(components) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Inner {
        count: u64,
    }

    struct Outer {
        kind: String,
        note: Option<String>,
        inner: Inner,
        others: Vec<Inner>,
    }

    described! {
        Inner { count: u64 }
        Outer { ["type"] kind: String, [optional] note: Option<String>, [flatten] inner: Inner, others: Vec<Inner> }
    }

    #[test]
    fn a_type_is_described_by_its_fields() {
        let mut components = Components::new();
        assert_eq!(Outer::refer(&mut components), json!({ "$ref": "#/components/schemas/Outer" }));
        let count = json!({ "type": "integer", "minimum": 0 });
        let outer = json!({
            "type": "object",
            "properties": {
                "type": { "type": "string" },
                "note": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
                "count": count,
                "others": { "type": "array", "items": { "$ref": "#/components/schemas/Inner" } },
            },
            "required": ["type", "count", "others"],
            "additionalProperties": false,
        });
        assert_eq!(components["Outer"], outer);
        assert_eq!(components["Inner"]["properties"]["count"], count);
    }
}
