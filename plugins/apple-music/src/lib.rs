//! Backline connector for apple-music.
