//! Everything that a component can import, on one screen. What is not linked here does not exist for a component.

use std::sync::Arc;

use backline_component::is_wasi;
use wasmtime::Engine;
use wasmtime::component::{Accessor, Component, HasData, InstancePre, Linker};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;

use super::bindings::{self, Version, v1_0, v1_1};
use super::error::LoadError;
use super::meters::LogLevel;
use super::sends;
use super::state::CallState;
use super::wasi::Timers;

/// What a component may import, for the message of a refusal.
const ALLOWED: &str = "backline:connector/http and backline:connector/log, in the version of the contract that it \
                       exports, and WASI 0.2, with nothing granted";

/// The two linkers, created once, since linking by name is the slow part of starting an instance.
pub(super) struct Linkers {
    /// Provides `http` and `log`, in every version: a name is looked up exactly before a compatible one.
    plain: Linker<CallState>,
    /// Provides `http`, `log` and WASI 0.2.
    with_wasi: Linker<CallState>,
}

impl Linkers {
    pub(super) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut plain = Linker::new(engine);
        v1_0::types::add_to_linker::<_, Capabilities>(&mut plain, CallState::itself)?;
        v1_0::http::add_to_linker::<_, Capabilities>(&mut plain, CallState::itself)?;
        v1_0::log::add_to_linker::<_, Capabilities>(&mut plain, CallState::itself)?;
        v1_1::types::add_to_linker::<_, Capabilities>(&mut plain, CallState::itself)?;
        v1_1::http::add_to_linker::<_, Capabilities>(&mut plain, CallState::itself)?;
        v1_1::log::add_to_linker::<_, Capabilities>(&mut plain, CallState::itself)?;
        let mut with_wasi = plain.clone();
        wasmtime_wasi::p2::add_to_linker_async(&mut with_wasi)?;
        // In place of the library's own, whose timers go on where clocks stand.
        with_wasi.allow_shadowing(true);
        monotonic_clock::add_to_linker::<_, Clocks>(&mut with_wasi, CallState::timers)?;
        with_wasi.allow_shadowing(false);
        Ok(Self { plain, with_wasi })
    }

    /// Links a component with what it may import.
    pub(super) fn link(&self, component: &Component, with_wasi: bool) -> Result<InstancePre<CallState>, LoadError> {
        let linker = if with_wasi { &self.with_wasi } else { &self.plain };
        linker.instantiate_pre(component).map_err(|error| LoadError::Link(bindings::clip(format!("{error:#}"))))
    }
}

/// Refuses a component by the name of its first import that is not allowed, before it is compiled, and returns whether
/// it needs WASI. (The linker would refuse it too.)
pub(super) fn check_imports(imports: &[String], version: Version) -> Result<bool, LoadError> {
    let (mut with_wasi, own) = (false, version.imports());
    for import in imports {
        let is_wasi = is_wasi(import);
        if !is_wasi && !own.contains(&import.as_str()) {
            return Err(LoadError::UnknownImport { import: import.clone(), allowed: ALLOWED });
        }
        with_wasi |= is_wasi;
    }
    Ok(with_wasi)
}

/// What the host's functions can access of a store: the call's own state.
pub(super) struct Capabilities;

impl HasData for Capabilities {
    type Data<'a> = &'a mut CallState;
}

/// The clock that timers go by.
struct Clocks;

impl HasData for Clocks {
    type Data<'a> = Timers<'a>;
}

impl v1_0::types::Host for CallState {}
impl v1_0::http::Host for CallState {}
impl v1_1::types::Host for CallState {}
impl v1_1::http::Host for CallState {}

impl<T: Send> v1_0::http::HostWithStore<T> for Capabilities {
    /// The only way out. A call that ends drops this future, and the running request with it.
    async fn send(
        accessor: &Accessor<T, Self>,
        request: v1_0::http::Request,
    ) -> Result<v1_0::http::Response, v1_0::http::Error> {
        let request = v1_0::request_from_wit(request);
        let (session, held) = accessor.with(|mut access| access.get().hold(&request));
        let answer = sends::send(&session, held, request).await;
        answer.map(v1_0::response_to_wit).map_err(v1_0::send_error_to_wit)
    }
}

impl<T: Send> v1_1::http::HostWithStore<T> for Capabilities {
    /// As in 1.0.0.
    async fn send(
        accessor: &Accessor<T, Self>,
        request: v1_1::http::Request,
    ) -> Result<v1_1::http::Response, v1_1::http::Error> {
        let request = v1_1::request_from_wit(request);
        let (session, held) = accessor.with(|mut access| access.get().hold(&request));
        let answer = sends::send(&session, held, request).await;
        answer.map(v1_1::response_to_wit).map_err(v1_1::send_error_to_wit)
    }

    /// Each of the requests takes the way that `send` takes. What they hold is counted before the first one is sent.
    async fn send_all(
        accessor: &Accessor<T, Self>,
        requests: Vec<v1_1::http::Request>,
    ) -> Vec<Result<v1_1::http::Response, v1_1::http::Error>> {
        let asked = requests.len();
        let requests: Vec<_> = requests.into_iter().take(sends::TOGETHER_MAX).map(v1_1::request_from_wit).collect();
        let (meters, (session, held)) = accessor.with(|mut access| {
            let state = access.get();
            (Arc::clone(&state.meters), state.hold_all(requests))
        });
        let answers = sends::send_all(&session, &meters, held, asked).await;
        let to_wit = |answer: Result<_, _>| answer.map(v1_1::response_to_wit).map_err(v1_1::send_error_to_wit);
        answers.into_iter().map(to_wit).collect()
    }
}

/// Lets components of a version write to the log.
macro_rules! log {
    ($version:ident) => {
        impl $version::log::Host for CallState {
            fn write(&mut self, level: $version::log::Level, message: String) {
                let level = match level {
                    $version::log::Level::Debug => LogLevel::Debug,
                    $version::log::Level::Info => LogLevel::Info,
                    $version::log::Level::Warn => LogLevel::Warn,
                    $version::log::Level::Error => LogLevel::Error,
                };
                self.meters.log.write(level, &message);
            }
        }
    };
}

log!(v1_0);
log!(v1_1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_imports_its_own_version_alone() {
        let check = |imports: &[&str], version| {
            let imports: Vec<String> = imports.iter().map(|import| (*import).to_owned()).collect();
            check_imports(&imports, version).map_err(|error| error.to_string())
        };
        let (first, next) = ("backline:connector/http@1.0.0", "backline:connector/http@1.1.0");
        let wasi = "wasi:cli/stdout@0.2.3";
        assert_eq!(check(&[first], Version::OneZero), Ok(false));
        assert_eq!(check(&[next, wasi], Version::OneOne), Ok(true));
        for (imports, version, refused) in
            [([first, next], Version::OneZero, next), ([next, first], Version::OneOne, first)]
        {
            let why = check(&imports, version).expect_err("it mixes versions");
            assert!(why.contains(&format!("imports '{refused}'")), "{why}");
        }
    }
}
