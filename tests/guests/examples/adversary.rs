//! A connector that attacks the host. An account's platform id names the attack; ids without one behave well. What is
//! to be sent stands in the account's settings.
//!
//! `tests/it/adversaries` lists the attacks and what stops each.

// The bindings are implemented directly: the SDK's trait can't omit an answer or invent one.
#[cfg(target_arch = "wasm32")]
mod component {
    use backline_sdk::bindings::{export, exports::backline::connector::source};
    use backline_sdk::log::{self, Level};
    use backline_sdk::prelude::*;
    use futures::FutureExt as _;
    use futures::future::join_all;

    const MIB: usize = 1 << 20;

    struct Guest;

    impl source::Guest for Guest {
        async fn check(account: Account) -> Result<String, FetchError> {
            Ok(account.platform_id)
        }

        async fn fetch(accounts: Vec<Account>, _context: Context) -> BatchResult {
            for account in &accounts {
                before(account).await;
            }
            let answers = accounts.iter().map(one);
            let mut batch = BatchResult { accounts: join_all(answers).await, lost_metrics: Vec::new() };
            for account in &accounts {
                after(&account.platform_id, &mut batch);
            }
            batch
        }

        fn normalize(documents: Vec<Document>) -> Vec<Result<Snapshot, String>> {
            let mut snapshots: Vec<_> = documents.iter().map(snapshot).collect();
            for document in &documents {
                match act_of(document).as_str() {
                    "too-few-snapshots" => drop(snapshots.pop()),
                    "too-many-snapshots" => snapshots.push(Err("one more".to_owned())),
                    _ => {}
                }
            }
            snapshots
        }
    }

    fn act_of(document: &Document) -> String {
        document.json().ok().and_then(|body| Some(body["act"].as_str()?.to_owned())).unwrap_or_default()
    }

    /// What is done to the whole call, before anything is fetched.
    async fn before(account: &Account) {
        match account.platform_id.as_str() {
            "loop-in-fetch" => spin(),
            "wait-for-ever" => std::future::pending().await,
            "poll-without-end" => {
                std::future::poll_fn::<(), _>(|context| {
                    context.waker().wake_by_ref();
                    std::task::Poll::Pending
                })
                .await;
            }
            "log-without-end" => loop {
                log::write(Level::Info, "once more");
            },
            "recursion-in-fetch" => drop(std::hint::black_box(descend(1))),
            "memory-bomb-in-fetch" => bomb(),
            "memory-in-one-piece" => drop(std::hint::black_box(vec![1_u8; 1 << 30])),
            "memory-to-the-brim" => {
                while core::arch::wasm32::memory_grow::<0>(16) != usize::MAX {}
                drop(std::hint::black_box(vec![1_u8; 4 * MIB]));
            }
            "panic-in-fetch" => panic!("canary of a panic"),
            "trap-in-fetch" => core::arch::wasm32::unreachable(),
            "log-flood" | "most-rows-and-bytes" => {
                (0..20_000).for_each(|n| log::write(Level::Error, &format!("line {n} of very many")))
            }
            "log-empty-lines" => (0..50_000).for_each(|_| log::write(Level::Debug, "")),
            "log-one-line" => log::write(Level::Warn, &"x".repeat(4 * MIB)),
            "log-forged" => {
                log::write(Level::Info, "fine\n2026-01-01T00:00:00Z ERROR backline: \u{1b}[2Jforged\u{202e}")
            }
            "sends-left-behind" => {
                let mut sends: Vec<_> = (0..200).map(|_| Box::pin(send(account))).collect();
                sends.iter_mut().for_each(|send| drop(send.now_or_never()));
            }
            "sends-without-waiting" => drop(join_all((0..5_000).map(|_| send(account))).await),
            "sends-without-end" => while !matches!(send(account).await, Err(HttpError::Denied(_))) {},
            "handles-without-end" => drop(join_all((0..10_000).map(|_| send(account))).await),
            _ => {}
        }
    }

    /// The answer for one account.
    async fn one(account: &Account) -> Result<Fetched, FetchError> {
        let id = account.platform_id.as_str();
        let body = |body: String| Ok(Fetched { body, state: None });
        let good = json!({ "act": id, "followers": id.len() });
        let with_state = |state: String| Ok(Fetched { body: good.to_string(), state: Some(state) });
        match id {
            "body-of-megabytes" => body(format!("\"{}\"", "x".repeat(6 * MIB))),
            "most-rows-and-bytes" => Ok(Fetched {
                body: json!({ "act": id, "followers": id.len(), "noise": noise(MIB / 4) }).to_string(),
                state: Some(json!("x".repeat(60 << 10)).to_string()),
            }),
            "body-no-json" => body("no JSON".to_owned()),
            "body-of-nothing" => body(String::new()),
            "body-too-deep" => body(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
            "body-number-beyond" => body(r#"{"act":"body-number-beyond","followers":1e999}"#.to_owned()),
            "body-half-a-character" => body(r#"{"followers":"\ud800"}"#.to_owned()),
            "body-with-nul" => body(format!(r#"{{"act":"{id}","followers":{},"x":"\u0000"}}"#, id.len())),
            "state-of-megabytes" => with_state(format!("\"{}\"", "x".repeat(2 * MIB))),
            "state-no-json" => with_state("no JSON".to_owned()),
            "state-with-nul" => with_state(r#"["\u0000"]"#.to_owned()),
            "error-of-megabytes" => Err(FetchError::Unexpected("x".repeat(3 * MIB))),
            "error-steers" => Err(FetchError::Unexpected("\u{1b}[2J\u{202e}\u{9b}\0".to_owned())),
            "wait-136-years" => Err(FetchError::RateLimited(Some(u32::MAX))),
            "defer-past-9999" => Err(FetchError::QuotaExhausted(Some(1_795_866_206_000))),
            "defer-to-the-end" => Err(FetchError::QuotaExhausted(Some(i64::MAX))),
            "defer-to-the-beginning" => Err(FetchError::QuotaExhausted(Some(i64::MIN))),
            "defer-to-2100" => Err(FetchError::QuotaExhausted(Some(4_102_444_800))),
            "defer-to-1970" => Err(FetchError::QuotaExhausted(Some(0))),
            "unauthorized-always" => Err(FetchError::Unauthorized("always".to_owned())),
            _ if account.settings_json()["send"]["fail_spaced"].is_string() => {
                let text = account.settings_json()["send"]["fail_spaced"].as_str().unwrap_or_default().to_owned();
                Err(FetchError::Unexpected(text.chars().flat_map(|c| [c, '\0']).collect()))
            }
            _ if account.settings_json()["send"]["until_denied"] == true => loop {
                if let Err(error @ HttpError::Denied(_)) = send(account).await {
                    return sent(account, Err(error));
                }
            },
            _ if account.settings_json()["send"].is_object() => sent(account, send(account).await),
            _ => body(good.to_string()),
        }
    }

    /// Sends what the settings say, as often as they say.
    async fn send(account: &Account) -> Result<Response, HttpError> {
        let send = &account.settings_json()["send"];
        let texts = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let number = |key: &str| usize::try_from(send[key].as_u64().unwrap_or(0)).unwrap_or(0);
        let method = match send["method"].as_str() {
            Some("POST") => Method::Post,
            Some("DELETE") => Method::Delete,
            Some("HEAD") => Method::Head,
            _ => Method::Get,
        };
        let url = format!("{}{}", texts(&send["url"]), "x".repeat(number("url_bytes")));
        let mut request = backline_sdk::bindings::backline::connector::http::Request {
            method,
            url,
            headers: Vec::new(),
            body: (number("body_bytes") > 0).then(|| vec![b'x'; number("body_bytes")]),
            credential: None,
        };
        if let Some(text) = send["body"].as_str() {
            request.body = Some(text.as_bytes().to_vec());
        }
        for header in send["headers"].as_array().into_iter().flatten() {
            request.headers.push((texts(&header[0]), texts(&header[1])));
        }
        request.headers.extend((0..number("header_flood")).map(|n| (format!("x-{n}"), "y".to_owned())));
        if let Some(slot) = send["slot"].as_str() {
            let account = send["account"].as_str().map(str::to_owned);
            request.credential =
                Some(backline_sdk::bindings::backline::connector::http::Credential { slot: slot.to_owned(), account });
        }
        let response = backline_sdk::bindings::backline::connector::http::send(request).await?;
        Ok(Response { status: response.status, headers: response.headers, body: response.body })
    }

    /// What became of a request, as an answer whose class says it.
    fn sent(account: &Account, outcome: Result<Response, HttpError>) -> Result<Fetched, FetchError> {
        let id = account.platform_id.as_str();
        let response = outcome.map_err(|error| match error {
            HttpError::Denied(why) => FetchError::Forbidden(why),
            HttpError::CredentialUnavailable(why) => FetchError::Misconfigured(why),
            HttpError::TooLarge(limit) => FetchError::Unexpected(format!("larger than {limit} bytes")),
            error => error.into(),
        })?;
        let text = String::from_utf8_lossy(&response.body);
        log::write(Level::Info, &format!("{id}: {} {:?}", response.status, response.headers));
        if response.status != 200 {
            return Err(FetchError::Unexpected(format!("HTTP {}", response.status)));
        }
        let numbers: Json = text.parse().unwrap_or_default();
        let followers = numbers["followers"].as_i64();
        let text: String = text.chars().take(100_000).collect();
        let body = json!({ "act": id, "followers": followers, "text": text, "headers": response.headers });
        Ok(Fetched::new(&body).with_state(&json!(text.chars().take(2_000).collect::<String>())))
    }

    /// What is done to the whole answer.
    fn after(id: &str, batch: &mut BatchResult) {
        let lost = |n: usize| LostMetric { name: format!("{id}-{n}"), reason: "gone".to_owned() };
        match id {
            "too-few-answers" => drop(batch.accounts.pop()),
            "no-answers" => batch.accounts.clear(),
            "too-many-answers" => batch.accounts.push(Err(FetchError::NotFound)),
            "answers-without-end" => {
                batch.accounts.extend((0..500_000).map(|_| Err(FetchError::RateLimited(None))));
            }
            "lost-metrics-100000" => batch.lost_metrics.extend((0..100_000).map(lost)),
            "most-rows-and-bytes" => batch.lost_metrics.extend((0..100).map(lost)),
            "lost-metrics-200" => batch.lost_metrics.extend((0..200).map(lost)),
            "lost-metric-of-megabytes" => {
                batch.lost_metrics.push(LostMetric { name: "\u{1b}[2J".to_owned(), reason: "x".repeat(2 * MIB) })
            }
            _ => {}
        }
    }

    fn snapshot(document: &Document) -> Result<Snapshot, String> {
        let body = document.json()?;
        let act = body["act"].as_str().unwrap_or_default();
        let mut snapshot = Snapshot::builder().count("followers", &body["followers"], Absence::Hidden).build();
        let mut add = |name: String, value: Value| {
            snapshot.metrics.push(backline_sdk::Metric { name, value: Ok(value), coverage: None });
        };
        match act {
            "loop-in-normalize" => spin(),
            "memory-bomb-in-normalize" => bomb(),
            "panic-in-normalize" => panic!("canary of a panic"),
            "recursion-in-normalize" => drop(std::hint::black_box(descend(1))),
            "error-of-normalize" => return Err("\u{1b}[2J".repeat(MIB / 4)),
            "sends-in-normalize" => {
                let told = match Http::host().get("https://sends-in-normalize.attacks.test/").send().now_or_never() {
                    Some(Err(HttpError::Denied(_))) => "denied",
                    _ => "not denied",
                };
                snapshot.notes.push(told.to_owned());
            }
            "log-flood-in-normalize" => (0..20_000).for_each(|n| log::write(Level::Error, &format!("line {n}"))),
            "metrics-unknown-4000" => (0..4_000).for_each(|n| add(format!("unknown-{n}"), Value::Integer(1))),
            "metrics-unknown-250" => (0..250).for_each(|n| add(format!("unknown_{n}"), Value::Integer(1))),
            "most-rows-and-bytes" => {
                (0..250).for_each(|n| add(format!("unknown_{n}"), Value::Text("x".repeat(10_000))));
                add("top_track".to_owned(), Value::Text("x".repeat(MIB / 2)));
                add("genres".to_owned(), Value::Texts(vec!["x".repeat(600); 200]));
                snapshot.notes.extend((0..100).map(|_| "x".repeat(1_000)));
            }
            "metric-repeated" => (0..4_000).for_each(|_| add("likes".to_owned(), Value::Integer(1))),
            "metric-twice" => [1, 2].into_iter().for_each(|n| add("likes".to_owned(), Value::Integer(n))),
            "metric-name-of-megabytes" => add("x".repeat(MIB), Value::Integer(1)),
            "metric-name-steers" => add("\u{1b}[2J\u{202e}\0".to_owned(), Value::Integer(1)),
            "metric-of-another-column" => add("streams".to_owned(), Value::Integer(1)),
            "metric-of-the-host" => add("engagement_rate".to_owned(), Value::Decimal(99.0)),
            "number-nan" => add("popularity".to_owned(), Value::Decimal(f64::NAN)),
            "number-infinite" => add("popularity".to_owned(), Value::Decimal(f64::NEG_INFINITY)),
            "number-negative" => add("likes".to_owned(), Value::Integer(-1)),
            "number-smallest" => add("likes".to_owned(), Value::Integer(i64::MIN)),
            "number-beyond-exact" => add("likes".to_owned(), Value::Decimal(1e300)),
            "number-of-digits" => add("likes".to_owned(), Value::Text("9".repeat(100_000))),
            "number-no-number" => add("likes".to_owned(), Value::Texts(vec!["1".to_owned()])),
            "text-of-megabytes" => add("top_track".to_owned(), Value::Text("x".repeat(MIB))),
            "text-steers" => add("top_track".to_owned(), Value::Text("=1+1\u{1b}[2J\u{202e}\u{9b}\0".to_owned())),
            "texts-100000" => add("genres".to_owned(), Value::Texts(vec!["x".to_owned(); 10_000])),
            "text-of-unknown-metric" => add("unknown".to_owned(), Value::Text("x".repeat(MIB))),
            "notes-10000" => snapshot.notes.extend((0..10_000).map(|n| format!("note {n}"))),
            "note-of-megabytes" => snapshot.notes.push("x".repeat(MIB)),
            "note-steers" => snapshot.notes.push("\u{1b}[2J\u{202e}\0".to_owned()),
            "engagement-overflows" => {
                snapshot.engagement = Some(Engagement {
                    interactions: i64::MAX,
                    base: Some(1),
                    basis: backline_sdk::EngagementBasis::Followers,
                    posts_counted: 1,
                    posts_skipped: u32::MAX,
                });
            }
            "engagement-negative" => {
                snapshot.engagement = Some(Engagement {
                    interactions: i64::MIN,
                    base: Some(1),
                    basis: backline_sdk::EngagementBasis::Views,
                    posts_counted: u32::MAX,
                    posts_skipped: 0,
                });
            }
            "coverage-overflows" => {
                let coverage = Some(backline_sdk::Coverage { counted: u32::MAX, skipped: u32::MAX });
                let value = Ok(Value::Integer(1));
                snapshot.metrics.push(backline_sdk::Metric { name: "likes".to_owned(), value, coverage });
            }
            _ => {}
        }
        Ok(snapshot)
    }

    /// Digits that do not compress to less than half.
    fn noise(digits: usize) -> String {
        let mut state = 1_u64;
        let mut digit = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from_digit(u32::try_from(state >> 60).unwrap_or(0), 16).unwrap_or('0')
        };
        (0..digits).map(|_| digit()).collect()
    }

    fn spin() {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }

    fn descend(depth: u64) -> u64 {
        // Its frames are small, since those with arrays fill the component's own stack, which is in its memory, first.
        if depth.is_power_of_two() {
            say_depth(depth);
        }
        std::hint::black_box(descend as fn(u64) -> u64)(depth + 1) + 1
    }

    #[inline(never)]
    fn say_depth(depth: u64) {
        log::write(Level::Info, &format!("depth {depth}"));
    }

    fn bomb() {
        let mut bombs = Vec::new();
        loop {
            bombs.push(vec![1_u8; MIB]);
            std::hint::black_box(&bombs);
        }
    }

    export!(Guest with_types_in backline_sdk::bindings);
}
