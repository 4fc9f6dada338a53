//! Everything that a component can import, on one screen. What is not linked here does not exist for a component.

use backline_component::is_wasi;
use wasmtime::Engine;
use wasmtime::component::{Accessor, Component, HasData, InstancePre, Linker};

use super::bindings::{self, http, log, types};
use super::error::LoadError;
use super::meters::LogLevel;
use super::state::CallState;

/// What a component may import, for the message of a refusal.
const ALLOWED: &str = "backline:connector/http, backline:connector/log and WASI 0.2, with nothing granted";

/// The two linkers, created once, since linking by name is the slow part of starting an instance.
pub(super) struct Linkers {
    /// Provides `http` and `log`.
    plain: Linker<CallState>,
    /// Provides `http`, `log` and WASI 0.2.
    with_wasi: Linker<CallState>,
}

impl Linkers {
    pub(super) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut plain = Linker::new(engine);
        types::add_to_linker::<_, Capabilities>(&mut plain, CallState::itself)?;
        http::add_to_linker::<_, Capabilities>(&mut plain, CallState::itself)?;
        log::add_to_linker::<_, Capabilities>(&mut plain, CallState::itself)?;
        let mut with_wasi = plain.clone();
        wasmtime_wasi::p2::add_to_linker_async(&mut with_wasi)?;
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
pub(super) fn check_imports(imports: &[String]) -> Result<bool, LoadError> {
    let mut with_wasi = false;
    for import in imports {
        let is_wasi = is_wasi(import);
        if !is_wasi && !bindings::IMPORTS.contains(&import.as_str()) {
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

impl types::Host for CallState {}
impl http::Host for CallState {}

impl<T: Send> http::HostWithStore<T> for Capabilities {
    /// The only way out. A call that ends drops this future, and the running request with it.
    async fn send(accessor: &Accessor<T, Self>, request: http::Request) -> Result<http::Response, http::Error> {
        let bytes = bytes_of(&request);
        let (session, held) = accessor.with(|mut access| {
            let state = access.get();
            (state.session.clone(), state.meters.hold_request(bytes, state.requests_bytes_max))
        });
        let Some(_held) = held else {
            return Err(http::Error::Denied(
                "the waiting requests have more than requests_bytes_max bytes; send fewer at once".to_owned(),
            ));
        };
        let answer = session.send(bindings::request_from_wit(request)).await;
        answer.map(bindings::response_to_wit).map_err(bindings::send_error_to_wit)
    }
}

/// Memory that a waiting request holds in the host: all its texts, and the size of its list of headers even if they are
/// empty.
fn bytes_of(request: &http::Request) -> u64 {
    let headers: usize =
        request.headers.iter().map(|header| size_of_val(header) + header.0.len() + header.1.len()).sum();
    let credential = request
        .credential
        .as_ref()
        .map_or(0, |credential| credential.slot.len() + credential.account.as_ref().map_or(0, |account| account.len()));
    let body = request.body.as_ref().map_or(0, Vec::len);
    (request.url.len() + headers + credential + body) as u64
}

impl log::Host for CallState {
    fn write(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        self.meters.log.write(level, &message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_waiting_request_holds_goes_uncounted() {
        let plain = || http::Request {
            method: http::Method::Get,
            url: "https://a.test/".to_owned(),
            headers: Vec::new(),
            body: None,
            credential: None,
        };
        assert_eq!(bytes_of(&plain()), 15);
        let empty_headers = http::Request { headers: vec![Default::default(); 1_000_000], ..plain() };
        assert!(bytes_of(&empty_headers) > 40_000_000, "{}", bytes_of(&empty_headers));
        let credential = http::Credential { slot: "s".repeat(1_000), account: Some("a".repeat(1_000)) };
        let named = http::Request { credential: Some(credential), body: Some(vec![0; 10]), ..plain() };
        assert_eq!(bytes_of(&named), 15 + 2_000 + 10);
    }
}
