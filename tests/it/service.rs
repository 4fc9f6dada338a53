//! Backline as a service.

mod tokens;
