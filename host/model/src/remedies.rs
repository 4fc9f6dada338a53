//! The remedies that a build for tests can switch off, to see that the faults which they answer would do harm.
//!
//! Only a build with the feature `weakened` has the switch. In every other build [`off`] is a constant, so that each
//! remedy is what it is without it. Where a remedy is applied, at the one place that all paths go through, the code
//! names it: `is_overdue && !off(Remedy::…)`.

use crate::named::named;

named! {
    /// What keeps a fault from doing harm, and can be switched off. Each has its name, what it does, and what happens
    /// without it.
    Remedy;
    StatementLimit, "statement-limit",
        "A statement that is not answered in time is given up with its connection.",
        "It is waited for as long as the connection is silent.";
    LockLimit, "lock-limit",
        "A statement that does not get a lock in time fails.",
        "It waits for as long as another program holds the lock.";
    FewConnections, "few-connections",
        "Who is refused a connection looks again at those that come back.",
        "It waits for one of its own beside a free one, and fails.";
    UnreadableRows, "unreadable-rows",
        "A row that can't be read is left out of its list.",
        "One such row ends every plan of first collections.";
    StoredAgain, "stored-again",
        "What another transaction undid is stored again, from memory.",
        "The batch is fetched a second time.";
    OutagesFree, "outages-cost-no-attempt",
        "A database that can't be written to uses up no attempt.",
        "A full disk uses up an attempt of each batch.";
    DeathsFree, "deaths-cost-no-attempt",
        "The death of a host uses up no attempt.",
        "Each batch that it held loses an attempt.";
    UnwritableNamed, "unwritable-named",
        "A database that is full or read-only is named as that.",
        "`/readyz` does not say what to do.";
    Watchdog, "watchdog",
        "A loop that does not turn makes the host unready.",
        "A host that does nothing says that it is ready.";
    SteadyClock, "steady-clock",
        "A host whose clock jumped does nothing until it is right.",
        "It stores numbers of a day that has not come.";
    RolesAhead, "roles-ahead",
        "A role that is held for longer than any host takes it is free.",
        "No host plans until a time that a wrong clock has set.";
    TokenJournal, "token-journal",
        "A token that was granted is on disk before it is used.",
        "It is lost with its host, and the platform is asked again.";
}

impl Remedy {
    /// What it does, as a sentence.
    #[must_use]
    pub const fn does(self) -> &'static str {
        self.sentences()[0]
    }

    /// What happens without it, as a sentence.
    #[must_use]
    pub const fn without(self) -> &'static str {
        self.sentences()[1]
    }
}

/// Whether a remedy is switched off: never, in this build.
#[cfg(not(feature = "weakened"))]
#[must_use]
pub const fn off(_remedy: Remedy) -> bool {
    false
}

#[cfg(feature = "weakened")]
pub use switched::{off, without};

#[cfg(feature = "weakened")]
mod switched {
    use super::Remedy;
    use crate::named::Switch;

    /// The remedy that is switched off.
    static OFF: Switch = Switch::none();

    /// Whether a remedy is switched off in this process.
    #[must_use]
    pub fn off(remedy: Remedy) -> bool {
        OFF.is(remedy as u8)
    }

    /// Switches one remedy off in this process and all others on, or all on.
    pub fn without(remedy: Option<Remedy>) {
        OFF.set(remedy.map(|remedy| remedy as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_remedy_has_a_name_of_its_own_and_two_sentences() {
        let names: std::collections::BTreeSet<&str> = Remedy::ALL.iter().map(|remedy| remedy.name()).collect();
        assert_eq!(names.len(), Remedy::ALL.len(), "{names:?}");
        for remedy in Remedy::ALL {
            assert!(remedy.name().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", remedy.name());
            assert!(remedy.does().ends_with('.') && remedy.without().ends_with('.'), "{}", remedy.name());
            assert!(!off(*remedy), "{}: nothing is switched off unless a test asks for it", remedy.name());
        }
    }
}
