//! Documents of the first-party connectors: the first byte chooses one, the rest is the document.
#![no_main]

use backline_apple_music::AppleMusic;
use backline_instagram::Instagram;
use backline_instagram_business::InstagramBusiness;
use backline_sdk::{Connector, Document, Value, Window};
use backline_spotify::Spotify;
use backline_tiktok::TikTok;
use backline_youtube::YouTube;
use backline_youtube_analytics::YouTubeAnalytics;
use libfuzzer_sys::fuzz_target;

fn check<C: Connector>(body: &str) {
    let until = 1_795_132_800;
    let window = Window { since: until - 28 * 86_400, until };
    let document = || Document { body: body.to_owned(), window, observed_at: until };
    let snapshot = C::normalize(document());
    assert_eq!(snapshot, C::normalize(document()), "the same document gives the same snapshot");
    for metric in snapshot.into_iter().flat_map(|snapshot| snapshot.metrics) {
        if let Ok(Value::Decimal(decimal)) = metric.value {
            assert!(decimal.is_finite(), "{}", metric.name);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let Ok(body) = std::str::from_utf8(body) else { return };
    match first % 7 {
        0 => check::<AppleMusic>(body),
        1 => check::<Instagram>(body),
        2 => check::<InstagramBusiness>(body),
        3 => check::<Spotify>(body),
        4 => check::<TikTok>(body),
        5 => check::<YouTube>(body),
        _ => check::<YouTubeAnalytics>(body),
    }
});
