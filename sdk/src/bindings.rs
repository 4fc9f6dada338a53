//! The bindings generated from the WIT package `backline:connector@1.0.0`, or from `@1.1.0` with the feature
//! `contract-1-1`. A component has one contract, so there is never both: their types would be merged into one world.
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated; the WIT file holds the documentation")]

#[cfg(not(feature = "contract-1-1"))]
wit_bindgen::generate!({
    path: "../wit/connector/1.0.0",
    world: "connector",
    pub_export_macro: true,
    additional_derives: [PartialEq],
    default_bindings_module: "backline_sdk::bindings",
});

#[cfg(feature = "contract-1-1")]
wit_bindgen::generate!({
    path: "../wit/connector/1.1.0",
    world: "connector",
    pub_export_macro: true,
    additional_derives: [PartialEq],
    default_bindings_module: "backline_sdk::bindings",
});
