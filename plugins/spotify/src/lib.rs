//! Backline connector for spotify.
