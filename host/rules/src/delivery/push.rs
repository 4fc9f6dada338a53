//! Push notifications: an event as a short sentence for an artist's telephone.

use serde_json::{Value as Json, json};

use super::{PlatformFacts, metrics_of, platform_of};
use backline_model::Event;
use backline_model::event::types;
use backline_model::metric::names;

/// The notification, or the reason why there is none.
pub(super) fn notification(event: &Event, platform: Option<&PlatformFacts>) -> Result<Json, String> {
    let Some(artist) = event.artist_id else {
        return Err(format!("an event of type {} is not about a single artist", event.kind));
    };
    let Some(body) = sentence(event) else {
        return Err(format!("no notification exists for events of type {}", event.kind));
    };
    let name = platform_of(event).unwrap_or_default();
    let title = platform.map_or(name, |platform| platform.title.as_str());
    let metrics = metrics_of(event).unwrap_or(&event.data);
    Ok(json!({
        "artist_id": artist,
        "title": title,
        "body": body,
        "data": {
            "event_id": event.id,
            "type": event.kind,
            "platform": name,
            "account_id": metrics["account_id"],
            "metric_date": metrics["metric_date"],
            "change": event.data["change"],
        },
    }))
}

fn sentence(event: &Event) -> Option<String> {
    let data = &event.data;
    match event.kind.as_str() {
        types::SIGNIFICANT_CHANGE => Some(change(&data["change"], &data["new_metrics"]["values"])),
        types::METRICS_COLLECTED => Some(match followers(&data["values"]) {
            Some(followers) => format!("New numbers are in: {followers} followers."),
            None => "New numbers are in.".to_owned(),
        }),
        types::RECONNECT_NEEDED => Some("Connect your account again, so that its numbers go on.".to_owned()),
        types::CREDENTIAL_EXPIRING => {
            let days = data["days"].as_i64()?;
            let unit = if days == 1 { "day" } else { "days" };
            Some(format!("Connect your account again within {days} {unit}, so that its numbers go on."))
        }
        _ => None,
    }
}

fn change(change: &Json, values: &Json) -> String {
    if change["first"].as_bool() == Some(true) {
        return match followers(values) {
            Some(followers) => format!("Your first numbers are in: {followers} followers."),
            None => "Your first numbers are in.".to_owned(),
        };
    }
    let mut sentences = Vec::new();
    if let Some(percent) = change["followers_percent"].as_f64() {
        let to = followers(values).map_or_else(String::new, |followers| format!(" to {followers}"));
        sentences.push(format!("Followers are {} {:.1} %{to}.", direction(percent), percent.abs()));
    }
    if let Some(points) = change["engagement_points"].as_f64() {
        let rate = values[names::ENGAGEMENT_RATE].as_f64();
        let to = rate.map_or_else(String::new, |rate| format!(" to {rate:.1} %"));
        sentences.push(format!("Engagement is {} {:.1} points{to}.", direction(points), points.abs()));
    }
    if sentences.is_empty() { "Your numbers have moved.".to_owned() } else { sentences.join(" ") }
}

fn direction(difference: f64) -> &'static str {
    if difference < 0.0 { "down" } else { "up" }
}

fn followers(values: &Json) -> Option<String> {
    values[names::FOLLOWERS].as_i64().map(grouped)
}

/// Adds thousands separators: `1234567` → `1,234,567`.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if number < 0 { format!("-{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        let shown: Vec<String> = [0, 999, 1_000, 1_234_567, -12_345].into_iter().map(grouped).collect();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567", "-12,345"]);
    }

    #[test]
    fn a_change_is_one_or_two_short_sentences() {
        let values = json!({ "followers": 12_345, "engagement_rate": 3.12 });
        for (given, expected) in [
            (json!({ "first": true }), "Your first numbers are in: 12,345 followers."),
            (json!({ "first": false, "followers_percent": 12.34 }), "Followers are up 12.3 % to 12,345."),
            (json!({ "first": false, "engagement_points": -2.5 }), "Engagement is down 2.5 points to 3.1 %."),
            (
                json!({ "first": false, "followers_percent": -6.0, "engagement_points": 3.0 }),
                "Followers are down 6.0 % to 12,345. Engagement is up 3.0 points to 3.1 %.",
            ),
        ] {
            assert_eq!(change(&given, &values), expected);
        }
        assert_eq!(change(&json!({ "first": true }), &json!({})), "Your first numbers are in.");
    }
}
