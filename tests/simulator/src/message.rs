//! A request as the handlers read it, and their replies.

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::Value as Json;

use crate::ids::{Kind, mix_text};
use crate::world::{INSTAGRAM_TOKEN, TIKTOK_ACCESS, TIKTOK_REFRESH, World};

/// A request with its complete body.
pub(crate) struct Request {
    pub method: String,
    pub host: String,
    pub path: String,
    /// Path and query as sent.
    pub target: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    /// The decoded value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The parts of a comma-separated query parameter, without empty ones.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.param(name).unwrap_or("").split(',').filter(|part| !part.is_empty()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The token of `Authorization: Bearer …`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The fields of a form body; `None` unless it is declared as one.
    pub(crate) fn form(&self) -> Option<HashMap<String, String>> {
        let declared =
            self.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        declared.then(|| url::form_urlencoded::parse(&self.body).into_owned().collect())
    }

    /// Whether the request contains a text, as in [`Fault::contains`](crate::Fault::contains).
    pub(crate) fn names(&self, world: &World, text: &str) -> bool {
        if self.target.contains(text) || String::from_utf8_lossy(&self.body).contains(text) {
            return true;
        }
        let instagram = self.param("access_token").and_then(|token| world.read_token(INSTAGRAM_TOKEN, token));
        let access = self.bearer().and_then(|token| world.read_token(TIKTOK_ACCESS, token));
        let refresh = self
            .form()
            .and_then(|form| form.get("refresh_token").and_then(|token| world.read_token(TIKTOK_REFRESH, token)));
        instagram.is_some_and(|token| world.id(Kind::InstagramUser, token.index, 0).contains(text))
            || access.or(refresh).is_some_and(|token| world.id(Kind::TiktokUser, token.index, 0).contains(text))
    }

    /// Sixteen hexadecimal digits derived from the request, for trace ids.
    pub(crate) fn trace(&self) -> String {
        format!("{:016X}", mix_text(0, &self.target))
    }
}

/// A complete response.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Json) -> Self {
        let headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    pub(crate) fn ok(body: &Json) -> Self {
        Self::json(200, body)
    }

    pub(crate) fn text(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body: body.into() }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn with(mut self, headers: Vec<(&'static str, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    pub(crate) fn respond(self) -> Response<Body> {
        respond(self.status, &self.headers, Body::from(self.body))
    }
}

pub(crate) fn respond(status: u16, headers: &[(&'static str, String)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        // A fault may have a text that is not a valid header value; the header is left out then.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().append(*name, value);
        }
    }
    response
}
