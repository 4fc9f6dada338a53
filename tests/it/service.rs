//! Backline as a service.

mod endpoints;
mod signals;
mod startup;
mod support;
mod traces;
