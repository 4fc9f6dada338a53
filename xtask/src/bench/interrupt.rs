//! Ctrl-C and SIGTERM: a flag that everything which waits asks, so that processes and folders are cleared away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether the command was asked to end. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Begins to watch for the signals. A second one ends the process at once.
    ///
    /// # Errors
    /// If the system refuses it.
    pub(crate) fn watch() -> Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // Registered first: it acts on the second signal, when the flag is set already.
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&interrupt.asked))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupt.asked)))
                .context("failed to watch for Ctrl-C")?;
        }
        Ok(interrupt)
    }

    /// # Errors
    /// If the command was asked to end.
    pub(crate) fn check(&self) -> Result<()> {
        if self.asked.load(Ordering::Relaxed) {
            bail!("interrupted; everything that was started is removed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_until_a_signal_comes() {
        let interrupt = Interrupt::default();
        assert!(interrupt.check().is_ok());
        interrupt.clone().asked.store(true, Ordering::Relaxed);
        assert!(interrupt.check().is_err(), "a clone shares the flag");
    }
}
