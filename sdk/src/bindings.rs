//! The bindings generated from the WIT package `backline:connector@1.0.0`.
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated; the WIT file holds the documentation")]

wit_bindgen::generate!({
    path: "../wit/connector/1.0.0",
    world: "connector",
    pub_export_macro: true,
    additional_derives: [PartialEq],
    default_bindings_module: "backline_sdk::bindings",
});
