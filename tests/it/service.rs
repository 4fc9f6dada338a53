//! Backline as a service.

mod schedules;
