//! Releases and top tracks of the simulated artists, and their popularity.

use chrono::{Days, NaiveDate, TimeDelta};

use super::{FIRST, Platform, Release, SECOND, Trait, World, count, day, epoch, salt};

const GENRES: [&str; 10] =
    ["indie rock", "dream pop", "hip hop", "alt-country", "techno", "folk", "r&b", "latin pop", "metal", "jazz"];

impl World {
    /// The releases up to a date, oldest first. With `announced`, the next one is included for artists who announce it.
    #[must_use]
    pub fn releases(&self, index: u32, date: NaiveDate, announced: bool) -> Vec<Release> {
        let draw = self.draw(salt::RELEASES, index, 0);
        let (gap, first) = if self.regular {
            (30, epoch() - Days::new(150))
        } else {
            (count(21 + draw % 90), epoch() - Days::new(420 + draw / 100 % 200))
        };
        let mut releases = Vec::new();
        for number in 0..200_u32 {
            let out = first + TimeDelta::days(gap * i64::from(number));
            if out > date && (self.regular || !(announced && draw.is_multiple_of(3))) {
                break;
            }
            releases.push(self.release(index, number, out));
            if out > date {
                break;
            }
        }
        releases
    }

    fn release(&self, index: u32, number: u32, date: NaiveDate) -> Release {
        let draw = self.draw(salt::RELEASES, index, u64::from(number) + 1);
        let group = match number {
            1 if !self.regular => "compilation",
            _ if draw.is_multiple_of(3) => "album",
            _ => "single",
        };
        let tracks = if group == "single" { 1 } else { 8 + (draw / 3 % 8) as u32 };
        let title = format!("{} {}", SECOND[(draw / 64 % 16) as usize], number + 1);
        Release { number, date, title, group, tracks }
    }

    /// Titles of the top tracks, ordered by rank.
    #[must_use]
    pub fn top_tracks(&self, index: u32) -> Vec<String> {
        let tracks = if self.has(index, Trait::NoTracks) { 0 } else { 10 };
        (0..tracks)
            .map(|rank| {
                let draw = self.draw(salt::TRACK, index, rank);
                format!("{} {}", FIRST[(draw % 16) as usize], SECOND[(draw / 16 % 16) as usize])
            })
            .collect()
    }

    /// Popularity of a top track, 0 to 100.
    #[must_use]
    pub fn track_popularity(&self, index: u32, rank: u32, date: NaiveDate) -> i64 {
        (self.popularity(index, date) - i64::from(rank) * 2).max(0)
    }

    /// Popularity of the artist, 0 to 100.
    #[must_use]
    pub fn popularity(&self, index: u32, date: NaiveDate) -> i64 {
        if self.has(index, Trait::ZeroFollowers) {
            return 0;
        }
        count(20 + self.draw(salt::POPULARITY, index, 0) % 70 + self.draw(salt::POPULARITY, index, day(date)) % 4)
    }

    /// Genres as on Spotify; Apple Music capitalises them.
    #[must_use]
    pub fn genres(&self, platform: Platform, index: u32) -> Vec<String> {
        if platform == Platform::Spotify && self.has(index, Trait::NoGenres) {
            return Vec::new();
        }
        let draw = self.draw(salt::GENRE, index, 0) as usize;
        let first = GENRES[draw % 10];
        if platform == Platform::AppleMusic {
            return vec![capitals(first)];
        }
        vec![first.to_owned(), GENRES[(draw / 10 % 9 + 1 + draw) % 10].to_owned()]
    }
}

fn capitals(text: &str) -> String {
    text.split(' ')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().to_string() + letters.as_str())
        })
        .collect::<Vec<_>>()
        .join(" ")
}
