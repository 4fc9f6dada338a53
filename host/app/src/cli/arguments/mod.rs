//! What commands take: ids, names, and values such as dates, as people type them.

pub(super) mod ids;
pub(super) mod names;
pub(super) mod values;
