//! Numbers as Parquet: what is in a file is what the rows as NDJSON say, in columns with types.

use std::collections::BTreeMap;

use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::Field;
use axum::body::Bytes;
use backline_model::growth::Changes;
use backline_model::{GrowthChange, GrowthRow, NoChange, Role, SwapCause};
use backline_store::{BatchResult, Store};
use chrono::{DateTime, Days, NaiveDate, Utc};
use serde_json::{Map, Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answering, Caller, bearer};
use crate::store::fixtures::{add_batches, batch, day, demo, lease, metric, now, people, release, row, run, stored};
use crate::store::scope::{fill, marks, ours};
use crate::support::database::each_database;

/// Two rows of several kinds of values, with growth that has all there is to say of a change.
async fn collect(store: &Store) {
    let accounts = people(store, 2).await;
    store.release_save(&release(), b"component").await.unwrap();
    store.release_activate(release().digest, SwapCause::Activated, now()).await.unwrap();
    for (account, n) in accounts.iter().zip(1..) {
        add_batches(store, &[batch(n, &run(1), &[account], day("2026-11-22"))], now()).await;
        let mut ended = stored(row(account, day("2026-11-22")));
        let rose =
            GrowthChange { absolute: Some(12.0), percent: Some(13.64), gap_days: Some(1), ..GrowthChange::default() };
        let reason = Some(NoChange::Gap);
        let gap = GrowthChange { gap_days: Some(9), daily_percent: Some(-0.25), reason, ..GrowthChange::default() };
        let changes = Changes::from([(metric("followers"), BTreeMap::from([(1, rose), (7, gap)]))]);
        ended.stored.as_mut().unwrap().growth = vec![GrowthRow {
            account_id: account.id,
            artist_id: account.artist_id,
            platform: demo(),
            metric_date: day("2026-11-22"),
            changes,
        }];
        let done = BatchResult { accounts: vec![ended], ..BatchResult::default() };
        store.batch_complete(&lease(store).await, done, now()).await.unwrap();
    }
}

/// An answer's head in lower case, and its bytes. By HTTP/1.0 they are as they were sent.
async fn bytes(caller: &Caller<'_>, path: &str) -> (String, Vec<u8>) {
    let request = format!("GET {path} HTTP/1.0\r\nhost: test\r\n{}\r\n", bearer(caller.token.expose()));
    let mut stream = TcpStream::connect(&caller.answering.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer.split_off(end))
}

fn cell(field: &Field) -> Json {
    match field {
        Field::Null => Json::Null,
        Field::Str(text) => json!(text),
        Field::Long(number) => json!(number),
        Field::Double(number) => json!(number),
        Field::Date(days) => {
            let days = Days::new(u64::try_from(*days).expect("after 1970"));
            json!(NaiveDate::default().checked_add_days(days).expect("a date"))
        }
        Field::TimestampMicros(micros) => json!(DateTime::from_timestamp_micros(*micros).expect("a time")),
        other => panic!("no column has {other:?}"),
    }
}

/// The lines of a file, each with its columns by name, in an order of their own.
fn lines(file: Vec<u8>) -> Vec<Json> {
    let reader = SerializedFileReader::new(Bytes::from(file)).expect("a Parquet file");
    let rows = reader.get_row_iter(None).expect("rows");
    let line = |row: ::parquet::record::Row| {
        let columns: Map<String, Json> =
            row.get_column_iter().map(|(name, field)| (name.clone(), cell(field))).collect();
        Json::Object(columns)
    };
    sorted(rows.map(|row| line(row.expect("a line"))).collect())
}

fn sorted(mut lines: Vec<Json>) -> Vec<Json> {
    lines.sort_by_key(Json::to_string);
    lines
}

fn time(text: &Json) -> Json {
    json!(text.as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok()).expect("a time"))
}

/// The lines that a row of metrics has.
fn of_metrics(row: &Json) -> Vec<Json> {
    let line = |metric: &String, value: &Json, absent: &Json| {
        let is = |holds: bool| if holds { value.clone() } else { Json::Null };
        let observed = row["observed"].get(metric).unwrap_or(&row["observed_at"]);
        let coverage = &row["coverage"][metric];
        json!({
            "artist_id": row["artist_id"], "account_id": row["account_id"], "platform": row["platform"],
            "metric_date": row["metric_date"], "metric": metric,
            "integer": is(value.is_i64()), "decimal": is(value.is_f64()), "text": is(value.is_string()),
            "texts": if value.is_array() { json!(value.to_string()) } else { Json::Null }, "absent": absent,
            "counted": coverage["counted"], "skipped": coverage["skipped"], "observed_at": time(observed),
            "window_since": time(&row["window"]["since"]), "window_until": time(&row["window"]["until"]),
            "quality_score": row["quality_score"], "collection_source": row["collection_source"],
            "release": row["release"], "run_id": row["run_id"], "document_id": row["document_id"],
        })
    };
    let values = row["values"].as_object().expect("values");
    let absent = row["absent"].as_object().expect("what is absent");
    let lines = values.iter().map(|(metric, value)| line(metric, value, &Json::Null));
    lines.chain(absent.iter().map(|(metric, absence)| line(metric, &Json::Null, absence))).collect()
}

/// The lines that a row of growth has.
fn of_growth(row: &Json) -> Vec<Json> {
    let mut lines = Vec::new();
    for (metric, spans) in row["changes"].as_object().expect("changes") {
        for (span, change) in spans.as_object().expect("spans") {
            lines.push(json!({
                "artist_id": row["artist_id"], "account_id": row["account_id"], "platform": row["platform"],
                "metric_date": row["metric_date"], "metric": metric,
                "span_days": span.parse::<i64>().expect("days"), "absolute": change["absolute"],
                "percent": change["percent"], "gap_days": change["gap_days"],
                "daily_percent": change["daily_percent"], "reason": change["reason"],
            }));
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_says_what_the_rows_say() {
    each_database(async |store, url| {
        collect(&store).await;
        let answering = Answering::on(url).await;
        let viewer = answering.caller(Role::Viewer, None).await;
        type Expected = fn(&Json) -> Vec<Json>;
        let tables: [(&str, usize, Expected); 2] = [("metrics", 14, of_metrics), ("growth", 4, of_growth)];
        for (table, count, expected) in tables {
            let rows = viewer.get(&format!("/v1/{table}?format=ndjson")).await.body;
            let rows = rows.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
            let expected = sorted(rows.flat_map(|row| expected(&row)).collect());
            let (head, file) = bytes(&viewer, &format!("/v1/{table}?format=parquet")).await;
            assert!(head.contains("content-type: application/vnd.apache.parquet"), "{head}");
            let found = lines(file);
            assert_eq!(found, expected, "{table}");
            assert_eq!(found.len(), count, "{table}");
        }
        let (_, file) = bytes(&viewer, "/v1/metrics?format=parquet&until=2026-11-21").await;
        assert_eq!(lines(file), Vec::<Json>::new(), "a file without a line is one too");
        for wrong in ["limit=5", "cursor=abc"] {
            let refused = viewer.get(&format!("/v1/metrics?format=parquet&{wrong}")).await;
            assert_eq!(refused.status, 400, "{wrong}: {}", refused.body);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_one_tenant_has_nothing_of_anothers() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let stranger = answering.caller(Role::Numbers, Some(ours())).await;
        let (_, file) = bytes(&stranger, "/v1/metrics?format=parquet").await;
        let found = lines(file);
        assert_eq!(found.len(), 2, "followers, and streams that are not offered: {found:?}");
        for mark in marks() {
            assert!(!json!(found).to_string().contains(&mark), "{mark}: {found:?}");
        }
    })
    .await;
}
