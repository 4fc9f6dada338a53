//! Tests of the bounds on what a session sends and receives.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("encoded")
}

/// A frame of zstd that says it needs a window of so many bytes, as a power of two.
fn zstd_with_window(log: u32) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(log).expect("a window");
    encoder.write_all(b"numbers").expect("written");
    encoder.finish().expect("finished")
}

#[tokio::test]
async fn bodies_are_decompressed_up_to_the_limit_and_a_bomb_ends_there() {
    let bomb = gzip(&vec![b'0'; 16 << 20]);
    assert!(bomb.len() < 20_000, "a small response that unpacks to 16 MiB");
    let server = Server::start(move |asked: &Asked| match asked.target.as_str() {
        "/bomb" => answer(200, &[("content-encoding", "gzip")], bomb.clone()),
        "/zstd-bomb" => answer(200, &[("content-encoding", "zstd")], zstd(&vec![0u8; 8 << 20])),
        "/gzip" => answer(200, &[("content-encoding", "gzip")], gzip(b"numbers")),
        "/zstd" => answer(200, &[("content-encoding", "zstd")], zstd(b"numbers")),
        "/deflate" => {
            answer(200, &[("content-encoding", "identity"), ("content-encoding", "deflate")], zlib(b"numbers"))
        }
        "/gzip-members" => {
            let members = [&b"num"[..], b"", b"bers"].map(gzip);
            answer(200, &[("content-encoding", "gzip")], members.concat())
        }
        "/members-bomb" => {
            // Each of them alone is small enough.
            answer(200, &[("content-encoding", "gzip")], gzip(&vec![b'0'; 700_000]).repeat(2))
        }
        "/unchanged" => answer(304, &[("content-encoding", "gzip")], ""),
        "/exact" => answer(200, &[], vec![b'x'; 1 << 20]),
        _ => answer(200, &[], vec![b'x'; (1 << 20) + 1]),
    })
    .await;
    let mut setup = Setup::new(&server);
    setup.config.body_bytes_max = 1 << 20;
    let (_gateway, session, _demands) = setup.open();
    for path in ["bomb", "zstd-bomb", "members-bomb", "plain"] {
        assert_eq!(
            session.send(get(&format!("https://api.test/{path}"))).await,
            Err(SendError::TooLarge(1 << 20)),
            "{path}"
        );
    }
    assert_eq!(session.usage().requests, 4, "a response that is too large is not retried");
    for path in ["gzip", "gzip-members", "zstd", "deflate"] {
        let response = session.send(get(&format!("https://api.test/{path}"))).await.expect("an answer");
        assert_eq!(response.body, b"numbers", "{path}");
        assert!(!response.headers.iter().any(|(name, _)| name == "content-encoding"));
    }
    let unchanged = session.send(get("https://api.test/unchanged")).await.expect("an answer");
    assert_eq!((unchanged.status, unchanged.body), (304, Vec::new()));
    assert_eq!(session.send(get("https://api.test/exact")).await.expect("an answer").body.len(), 1 << 20);
}

/// All parts of a packed answer are one text, so nothing in them is left unread. What is no part is none of it.
#[tokio::test]
async fn a_secret_over_two_parts_is_found_and_what_is_none_is_left_out() {
    let server = Server::start(|asked: &Asked| {
        let (first, second) = TOKEN.as_bytes().split_at(9);
        let (coding, body) = match asked.target.as_str() {
            "/members" => ("gzip", [gzip(first), gzip(second)].concat()),
            "/frames" => ("zstd", [zstd(first), zstd(second)].concat()),
            "/padded-members" => ("gzip", [gzip(b"num"), gzip(b"bers"), vec![0; 600], b"\n".to_vec()].concat()),
            "/odd-padding" => ("gzip", [gzip(b"numbers"), b"\x1f\x8b and so on".to_vec()].concat()),
            "/padded-frames" => ("zstd", [zstd(b"num"), zstd(b"bers"), vec![0; 600], b"\n".to_vec()].concat()),
            "/padded-zlib" => ("deflate", [zlib(b"numbers"), vec![0; 600], b"\n".to_vec()].concat()),
            "/most" => ("gzip", gzip(b"").repeat(1_000)),
            "/more-frames" => ("zstd", zstd(b"").repeat(1_001)),
            _ => ("gzip", gzip(b"").repeat(1_001)),
        };
        answer(200, &[("content-encoding", coding)], body)
    })
    .await;
    let mut setup = Setup::new(&server);
    setup.config.retries_max = 0;
    for path in ["members", "frames"] {
        let asked = with_token(get(&format!("https://api.test/{path}")), setup.account);
        assert_eq!(setup.send(asked).await.expect("an answer").body, b"[secret]", "{path}");
    }
    for path in ["padded-members", "odd-padding", "padded-frames", "padded-zlib"] {
        let padded = setup.send(get(&format!("https://api.test/{path}"))).await.expect(path);
        assert_eq!(padded.body, b"numbers", "{path}");
    }
    assert_eq!(setup.send(get("https://api.test/most")).await.expect("an answer").body, b"");
    for path in ["more", "more-frames"] {
        let refused = setup.send(get(&format!("https://api.test/{path}"))).await.expect_err(path).to_string();
        assert!(refused.contains("it has more than 1000 members or frames"), "{refused}");
    }
}

/// The library would take 128 MiB for one answer.
#[tokio::test]
async fn the_window_of_zstd_has_a_bound() {
    let server = Server::start(|asked: &Asked| {
        let log = if asked.target == "/most" { 23 } else { 24 };
        answer(200, &[("content-encoding", "zstd")], zstd_with_window(log))
    })
    .await;
    let mut setup = Setup::new(&server);
    setup.config.retries_max = 0;
    assert_eq!(setup.send(get("https://api.test/most")).await.expect("8 MiB").body, b"numbers");
    let refused = setup.send(get("https://api.test/more")).await.expect_err("16 MiB").to_string();
    assert!(refused.contains("the answer can't be unpacked by zstd"), "{refused}");
}

#[tokio::test]
async fn sends_in_flight_are_bounded_and_a_dropped_one_makes_room() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let pair = Arc::new(tokio::sync::Barrier::new(2));
    let server = {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Server::start_slow(move |asked: Asked| {
            let (now, most, pair) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&pair));
            async move {
                if asked.target == "/never" {
                    std::future::pending::<()>().await;
                }
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                pair.wait().await;
                now.fetch_sub(1, Ordering::SeqCst);
                answer(200, &[], "ok")
            }
        })
        .await
    };
    let mut setup = Setup::new(&server);
    setup.config.sends_in_flight_max = 2;
    let (_gateway, session, _demands) = setup.open();
    {
        let never = futures::future::join(
            session.send(get("https://api.test/never")),
            session.send(get("https://api.test/never")),
        );
        assert!(tokio::time::timeout(Duration::from_millis(50), never).await.is_err());
    }
    let answers = futures::future::join_all((0..6).map(|_| session.send(get("https://api.test/x")))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn bytes_of_a_session_are_bounded_with_those_of_answers_that_are_too_large() {
    let server = Server::start(|asked: &Asked| match asked.target.as_str() {
        "/large" => answer(200, &[], vec![b'x'; 2_000]),
        _ => answer(200, &[], vec![b'x'; 500]),
    })
    .await;
    let mut setup = Setup::new(&server);
    (setup.config.body_bytes_max, setup.config.received_bytes_max) = (1_000, 1_500);
    let (_gateway, session, _demands) = setup.open();
    session.send(get("https://api.test/")).await.expect("500 bytes");
    assert_eq!(session.send(get("https://api.test/large")).await, Err(SendError::TooLarge(1_000)));
    let why = denial(session.send(get("https://api.test/")).await);
    assert!(why.contains("received_bytes_max under [gateway]"), "{why}");
    assert_eq!((server.asked().len(), session.usage().bytes_received), (2, 1_500));
}

/// Answers wait for each other only while a body is received: with room for one large answer, none is kept while
/// another one is waited for.
#[tokio::test]
async fn a_large_answer_is_let_go_before_the_next_one_is_waited_for() {
    const LARGE: usize = (1 << 20) + 1;
    let seen = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |asked: &Asked| match asked.target.as_str() {
        "/moved" => answer(302, &[("location", "/here")], vec![b' '; LARGE]),
        "/failing" if seen.fetch_add(1, Ordering::SeqCst) == 0 => answer(500, &[], vec![b' '; LARGE]),
        "/broken" => answer(500, &[("x-why", "broken")], vec![b' '; LARGE]),
        "/small" => answer(503, &[], "why"),
        _ => answer(200, &[], vec![b' '; LARGE]),
    })
    .await;
    let mut setup = Setup::new(&server);
    (setup.config.body_bytes_max, setup.config.large_answers_bytes_max) = (2 << 20, 2 << 20);
    setup.deadline = Duration::from_secs(60);
    let (_gateway, session, _demands) = setup.open();
    for path in ["moved", "failing", "here"] {
        let response = session.send(get(&format!("https://api.test/{path}"))).await.expect(path);
        assert_eq!((response.status, response.body.len()), (200, LARGE), "{path}");
    }
    let all = (0..2).map(|_| session.send(get("https://api.test/moved")));
    let answers = futures::future::join_all(all).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 200)));

    // The last answer is kept whole; one before it, where its request can't be sent again, without its body.
    setup.config.retries_max = 1;
    let (_gateway, session, _demands) = setup.open();
    let last = session.send(get("https://api.test/broken")).await.expect("the last answer");
    assert_eq!((last.status, last.body.len()), (500, LARGE));
    setup.config.requests_max = 1;
    for (path, status, body) in [("broken", 500, ""), ("small", 503, "why")] {
        let (_gateway, session, _demands) = setup.open();
        let kept = session.send(get(&format!("https://api.test/{path}"))).await.expect("the answer before");
        assert_eq!((kept.status, &*String::from_utf8_lossy(&kept.body)), (status, body), "{path}");
    }
}

#[tokio::test]
async fn sessions_of_a_batch_share_what_it_may_use() {
    let server = Server::start(|_: &Asked| answer(200, &[], vec![b'x'; 400])).await;
    let mut setup = Setup::new(&server);
    setup.config.requests_max = 3;
    let (gateway, first, _demands) = setup.open();
    let parts = || SessionSetup {
        manifest: Arc::new(setup.manifest.clone()),
        grant: Arc::new(setup.grant.clone()),
        credentials: setup.credentials.clone(),
        accounts: vec![setup.account],
        deadline: Instant::now() + setup.deadline,
    };
    let mut spent = Spent::default();
    for _ in 0..2 {
        first.send(get("https://api.test/")).await.expect("an answer");
    }
    spent.add(&first.usage());
    assert_eq!((spent.asked, spent.bytes_received), (2, 800));
    let second = gateway.session_after(parts(), spent);
    second.send(get("https://api.test/")).await.expect("an answer");
    let why = denial(second.send(get("https://api.test/")).await);
    assert!(why.contains("requests_max under [gateway]"), "{why}");
    assert_eq!((second.usage().requests, second.usage().refused, server.asked().len()), (1, 1, 3));
    assert_eq!(first.usage().refused, 0);
}

#[tokio::test]
async fn what_a_request_received_counts_though_it_was_dropped() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut setup = Setup::at(&format!("http://{}", listener.local_addr().expect("an address")));
    setup.config.received_bytes_max = 7;
    // The session ends while it waits for the rest, long after the beginning has come.
    setup.deadline = Duration::from_secs(2);
    let (gateway, late, _demands) = setup.open();
    let serve = async {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            // An answer before the request would be none.
            let asked = stream.read(&mut [0; 4_096]).await.expect("a request");
            assert!(asked > 0, "a request");
            stream.write_all(CUT_SHORT).await.expect("sent");
            open.push(stream);
        }
    };
    let work = async {
        assert_eq!(late.send(get("https://api.test/")).await, Err(SendError::TimedOut));
        let usage = late.usage();
        assert_eq!((usage.bytes_received, usage.requests, usage.timed_out), (7, 1, 1));

        // The call that sent it does not wait for it any more.
        setup.deadline = Duration::from_secs(20);
        let session = setup.session(&gateway);
        let dropped = tokio::time::timeout(Duration::from_secs(2), session.send(get("https://api.test/"))).await;
        assert!(dropped.is_err(), "{dropped:?}");
        assert_eq!((session.usage().bytes_received, session.usage().timed_out), (7, 0));
        let why = denial(session.send(get("https://api.test/")).await);
        assert!(why.contains("received_bytes_max under [gateway]"), "{why}");
    };
    tokio::select! {
        () = work => {}
        () = serve => {}
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_was_received_all_the_same() {
    let cut = RawServer::start(vec![CUT_SHORT.to_vec()]).await;
    let mut setup = Setup::at(&cut.base());
    (setup.config.retries_max, setup.config.received_bytes_max) = (0, 10);
    let (_gateway, session, _demands) = setup.open();
    for _ in 0..2 {
        let outcome = session.send(get("https://api.test/")).await;
        assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
    }
    let why = denial(session.send(get("https://api.test/")).await);
    assert!(why.contains("received_bytes_max under [gateway]"), "{why}");
    assert_eq!((session.usage().bytes_received, cut.connections()), (14, 2));
}
