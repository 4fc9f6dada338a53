//! Backline as a service.

mod working;
