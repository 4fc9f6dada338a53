//! Backline as a service.

mod people;
