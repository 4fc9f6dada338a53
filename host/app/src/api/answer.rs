//! What operations answer with: one thing, a page of a list, or numbers in one of four forms.

use std::borrow::Cow;
use std::io::{self, Write as _};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::problem::Problem;
use super::schema::{Components, Described, Field, object};
use backline_model::text::{csv_text, harmless_json, printable};
use backline_model::{ArtistId, Digest, GrowthChange, GrowthRow, MetricsRow};

/// Smallest body that is compressed, in bytes: below it, headers outweigh what is saved.
const GZIP_BYTES_MIN: usize = 1024;

/// A body that is ready to be sent.
pub(super) struct Reply {
    body: Content,
    content_type: &'static str,
    /// The cursor of the page that follows.
    next: Option<String>,
}

/// What a body is made of.
enum Content {
    /// All of it.
    Whole(Vec<u8>),
    /// Pieces as they come. Where one fails the connection breaks, so that nobody takes a part for all of it.
    Pieces(BoxStream<'static, io::Result<Vec<u8>>>),
}

/// What an operation answers with.
pub(super) trait Answer: Send {
    /// Writes it.
    fn reply(self) -> Result<Reply, Problem>;

    /// The `content` of its response in the document.
    fn content(components: &mut Components) -> Json;
}

/// One thing.
pub(super) struct Item<T>(pub(super) T);

/// A page of a list.
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    /// The cursor of the page that follows; none where this is the last one.
    pub(super) next: Option<String>,
}

impl<T> Page<T> {
    /// A list that is one page.
    pub(super) fn whole(data: Vec<T>) -> Self {
        Self { data, next: None }
    }
}

/// Numbers in the form that was asked for.
pub(super) enum Numbers<T> {
    /// A page of rows.
    Page(Page<T>, Form),
    /// All rows, as a Parquet file.
    File(BoxStream<'static, io::Result<Vec<u8>>>),
}

/// How a page of numbers is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Ndjson,
    Csv,
}

/// Server-sent events.
pub(super) struct Stream(pub(super) BoxStream<'static, Vec<u8>>);

/// The answer of an operation that changed something, with what the audit log keeps of it besides the action.
pub(super) struct Recorded<A> {
    pub(super) answer: A,
    /// What it was about and what came of it: names no artist, and holds no secret.
    pub(super) details: Json,
    /// Artist that it was about.
    pub(super) artist: Option<ArtistId>,
}

/// Rows that can be written as lines of a table.
pub(super) trait Tabular {
    /// The columns' names.
    const COLUMNS: &'static [&'static str];

    /// The row's lines.
    fn lines(&self) -> Vec<Vec<Cell>>;
}

/// A cell of a table.
pub(super) enum Cell {
    /// Words, which a spreadsheet must not take for a formula.
    Text(String),
    /// A number, a date or a name that can't be a formula.
    Exact(String),
    /// No value.
    Empty,
}

impl Cell {
    fn number(number: Option<f64>) -> Self {
        number.map_or(Self::Empty, |number| Self::Exact(number.to_string()))
    }

    /// As it is written. A spreadsheet runs a text that begins like a formula; a number that is negative is none. A
    /// terminal obeys characters that steer.
    fn written(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Owned(csv_text(&printable(text))),
            Self::Exact(text) => Cow::Borrowed(text),
            Self::Empty => Cow::Borrowed(""),
        }
    }
}

impl Tabular for MetricsRow {
    const COLUMNS: &'static [&'static str] = &[
        "artist_id",
        "account_id",
        "platform",
        "metric_date",
        "metric",
        "value",
        "absent",
        "observed_at",
        "quality_score",
    ];

    fn lines(&self) -> Vec<Vec<Cell>> {
        let line = |metric: &backline_model::MetricName, value: Cell, absent: Cell| {
            let observed = self.observed.get(metric).copied().unwrap_or(self.observed_at);
            vec![
                Cell::Exact(self.artist_id.to_string()),
                Cell::Exact(self.account_id.to_string()),
                Cell::Exact(self.platform.to_string()),
                Cell::Exact(self.metric_date.to_string()),
                Cell::Exact(metric.to_string()),
                value,
                absent,
                Cell::Exact(observed.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
                Cell::Exact(self.quality_score.to_string()),
            ]
        };
        let values = self.values.iter().map(|(metric, value)| {
            let cell = match value {
                backline_model::Value::Integer(_) | backline_model::Value::Decimal(_) => Cell::Exact(value.to_string()),
                backline_model::Value::Text(_) | backline_model::Value::Texts(_) => Cell::Text(value.to_string()),
            };
            line(metric, cell, Cell::Empty)
        });
        let absent =
            self.absent.iter().map(|(metric, absence)| line(metric, Cell::Empty, Cell::Text(absence.to_string())));
        values.chain(absent).collect()
    }
}

impl Tabular for GrowthRow {
    const COLUMNS: &'static [&'static str] = &[
        "artist_id",
        "account_id",
        "platform",
        "metric_date",
        "metric",
        "span_days",
        "absolute",
        "percent",
        "gap_days",
        "daily_percent",
        "reason",
    ];

    fn lines(&self) -> Vec<Vec<Cell>> {
        let line = |(metric, span, change): (&backline_model::MetricName, u16, &GrowthChange)| {
            vec![
                Cell::Exact(self.artist_id.to_string()),
                Cell::Exact(self.account_id.to_string()),
                Cell::Exact(self.platform.to_string()),
                Cell::Exact(self.metric_date.to_string()),
                Cell::Exact(metric.to_string()),
                Cell::Exact(span.to_string()),
                Cell::number(change.absolute),
                Cell::number(change.percent),
                change.gap_days.map_or(Cell::Empty, |days| Cell::Exact(days.to_string())),
                Cell::number(change.daily_percent),
                change.reason.map_or(Cell::Empty, |reason| Cell::Exact(reason.as_str().to_owned())),
            ]
        };
        self.each().map(line).collect()
    }
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    let json = serde_json::to_string(value).map(harmless_json);
    json.map(String::into_bytes).map_err(|error| Problem::internal_by(&error))
}

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv; charset=utf-8";
const PARQUET: &str = "application/vnd.apache.parquet";
const EVENTS: &str = "text/event-stream";

impl<T: Serialize + Described + Send> Answer for Item<T> {
    fn reply(self) -> Result<Reply, Problem> {
        Ok(Reply { body: Content::Whole(to_json(&self.0)?), content_type: JSON, next: None })
    }

    fn content(components: &mut Components) -> Json {
        json!({ JSON: { "schema": T::refer(components) } })
    }
}

impl<T: Serialize + Described + Send> Answer for Page<T> {
    fn reply(self) -> Result<Reply, Problem> {
        let body = to_json(&json!({ "data": self.data, "has_more": self.next.is_some(), "next": self.next }))?;
        Ok(Reply { body: Content::Whole(body), content_type: JSON, next: self.next })
    }

    fn content(components: &mut Components) -> Json {
        let field = |name, schema| Field { name, schema, required: true };
        let schema = object(vec![
            field("data", Vec::<T>::refer(components)),
            field("has_more", bool::refer(components)),
            field("next", Option::<String>::refer(components)),
        ]);
        json!({ JSON: { "schema": schema } })
    }
}

impl<T: Serialize + Described + Tabular + Send> Answer for Numbers<T> {
    fn reply(self) -> Result<Reply, Problem> {
        let (page, form) = match self {
            Self::Page(page, form) => (page, form),
            Self::File(pieces) => {
                return Ok(Reply { body: Content::Pieces(pieces), content_type: PARQUET, next: None });
            }
        };
        match form {
            Form::Json => page.reply(),
            Form::Ndjson => {
                let mut body = Vec::new();
                for row in &page.data {
                    body.extend(to_json(row)?);
                    body.push(b'\n');
                }
                Ok(Reply { body: Content::Whole(body), content_type: NDJSON, next: page.next })
            }
            Form::Csv => Ok(Reply { body: Content::Whole(to_csv(&page.data)?), content_type: CSV, next: page.next }),
        }
    }

    fn content(components: &mut Components) -> Json {
        let mut content = Page::<T>::content(components);
        content[NDJSON] = json!({ "schema": T::refer(components) });
        content["text/csv"] = json!({ "schema": { "type": "string" } });
        content[PARQUET] = json!({ "schema": { "type": "string", "format": "binary" } });
        content
    }
}

impl Answer for Stream {
    fn reply(self) -> Result<Reply, Problem> {
        Ok(Reply { body: Content::Pieces(self.0.map(Ok).boxed()), content_type: EVENTS, next: None })
    }

    fn content(_: &mut Components) -> Json {
        json!({ EVENTS: { "schema": { "type": "string" } } })
    }
}

/// A response whose pieces are sent as they come: nothing on the way is to hold them back.
fn streamed(pieces: BoxStream<'static, io::Result<Vec<u8>>>, content_type: &'static str) -> Response {
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The lines of rows as a table.
pub(super) fn to_csv<T: Tabular>(rows: &[T]) -> Result<Vec<u8>, Problem> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let written = || -> Result<Vec<u8>, csv::Error> {
        table.write_record(T::COLUMNS)?;
        for line in rows.iter().flat_map(Tabular::lines) {
            table.write_record(line.iter().map(|cell| cell.written().into_owned()))?;
        }
        table.into_inner().map_err(|error| error.into_error().into())
    };
    written().map_err(|error| Problem::internal_by(&error))
}

impl Reply {
    /// An answer that was given before, as JSON.
    pub(super) fn again(answer: String) -> Self {
        Self { body: Content::Whole(answer.into_bytes()), content_type: JSON, next: None }
    }

    /// The response to a request with these headers. `next`: where the page that follows is; `is_get`: it may be
    /// answered by saying that nothing has changed.
    ///
    /// # Errors
    /// When the body can't be compressed.
    pub(super) async fn response(
        self,
        request: &HeaderMap,
        next: Option<String>,
        is_get: bool,
    ) -> Result<Response, Problem> {
        let Self { body, content_type, .. } = self;
        let body = match body {
            Content::Whole(body) => body,
            Content::Pieces(pieces) => return Ok(streamed(pieces, content_type)),
        };
        // A weak one: the same content may come compressed or not.
        let tag = format!("W/\"{}\"", &Digest::of(&body).to_string()[..32]);
        let is_known = is_get && holds(request, header::IF_NONE_MATCH, |given| given == tag || given == "*");
        let (body, is_gzip) = match (is_known, holds(request, header::ACCEPT_ENCODING, accepts_gzip)) {
            (true, _) => (Vec::new(), false),
            (false, true) if body.len() >= GZIP_BYTES_MIN => (compressed(body).await?, true),
            (false, _) => (body, false),
        };
        let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("authorization, accept-encoding"));
        if is_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(link) = next.and_then(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")).ok()) {
            headers.insert(header::LINK, link);
        }
        if let Some(tag) = HeaderValue::try_from(tag).ok().filter(|_| is_get) {
            headers.insert(header::ETAG, tag);
        }
        Ok(response)
    }

    /// The cursor of the page that follows.
    pub(super) fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }
}

/// Whether one of the elements of a header's list is as wanted.
fn holds(headers: &HeaderMap, name: header::HeaderName, wanted: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|element| wanted(element.trim()))
}

fn accepts_gzip(encoding: &str) -> bool {
    let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
    let refused = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok()) == Some(0.0);
    name.trim().eq_ignore_ascii_case("gzip") && !refused
}

/// The body compressed, on a thread that may take its time.
async fn compressed(body: Vec<u8>) -> Result<Vec<u8>, Problem> {
    let work = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        encoder.write_all(&body).and_then(|()| encoder.finish())
    });
    work.await.ok().and_then(Result::ok).ok_or_else(Problem::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_look_like_a_formula_are_escaped() {
        for (cell, written) in [
            (Cell::Text("=1+1".to_owned()), "'=1+1"),
            (Cell::Text("@home".to_owned()), "'@home"),
            (Cell::Text("a;=1\u{1b}[2J\u{202e}".to_owned()), "a;'=1\u{fffd}[2J\u{fffd}"),
            (Cell::Text("rock, pop".to_owned()), "rock, pop"),
            (Cell::number(Some(-1.5)), "-1.5"),
            (Cell::number(None), ""),
        ] {
            assert_eq!(cell.written(), written);
        }
    }

    #[test]
    fn json_steers_no_terminal_and_holds_the_same_data() {
        let text = "\u{9b}2J\u{202e}\n";
        let json = to_json(&json!({ "name": text })).expect("JSON");
        assert!(json.is_ascii(), "{json:?}");
        assert_eq!(serde_json::from_slice::<Json>(&json).expect("JSON")["name"], text);
    }

    #[test]
    fn gzip_is_used_where_it_is_accepted() {
        let headers = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::try_from(text).expect("a value"));
            headers
        };
        for (given, accepted) in [
            ("gzip, br", true),
            ("br;q=1.0, gzip;q=0.8", true),
            ("gzip;q=0", false),
            ("br", false),
            ("identity", false),
        ] {
            assert_eq!(holds(&headers(given), header::ACCEPT_ENCODING, accepts_gzip), accepted, "{given}");
        }
    }
}
