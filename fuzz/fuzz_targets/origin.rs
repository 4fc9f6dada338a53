//! Patterns of the allow-list and URLs: what is accepted reads the same as it is written.
#![no_main]

use backline_model::{Origin, OriginPattern};
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|texts: (&str, &str)| {
    let pattern = texts.0.parse::<OriginPattern>();
    if let Ok(pattern) = &pattern {
        assert_eq!(pattern.to_string().parse::<OriginPattern>().as_ref(), Ok(pattern));
    }
    let Ok(mut url) = Url::parse(texts.1) else { return };
    let Ok(origin) = Origin::of(&url) else { return };
    origin.name_in(&mut url);
    assert_eq!(Origin::of(&url).as_ref(), Ok(&origin));
    if let Ok(pattern) = pattern
        && pattern.matches(&origin)
    {
        let allowed = pattern.to_string();
        let end = allowed.trim_start_matches("https://").trim_start_matches("*.");
        let found = origin.to_string();
        assert!(found.ends_with(end), "{allowed} matched {found}");
    }
});
