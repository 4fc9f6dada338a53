//! Backline connector for tiktok.
