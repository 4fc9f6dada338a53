//! Backline connector for instagram.
