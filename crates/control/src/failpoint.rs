//! Deliberate deaths for crash tests: `FICUS_FAILPOINT=STEP:ACTION`.
//!
//! `STEP` is the name of a transfer's action (`preflight`, `reverse`, `hold`, `fence`, `drain`, `verify`,
//! `prepare`, `decide`, `open`, `publish`, `observe`, `expire`, `unprepare`, `release`): the point lies
//! after the state was journaled and before the action. `STEP.done` lies after the action's effect and
//! before the journal hears of it. `ACTION` is `exit` (the process is killed on the spot, as by `kill -9`)
//! or `hang` (the transfer stops there for ever).

use std::{convert::Infallible, str::FromStr};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::sync::watch;

/// Name of the environment variable.
pub const VARIABLE: &str = "FICUS_FAILPOINT";

/// What happens at the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Exit,
    Hang,
}

/// A named place in a transfer and what happens there. Clones share whether it was reached.
#[derive(Clone, Debug)]
pub struct Failpoint {
    step: String,
    effect: Effect,
    reached: watch::Sender<bool>,
}

/// The text is no failpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE}={0:?} is no failpoint, write STEP:exit or STEP:hang")]
pub struct ParseFailpointError(String);

impl FromStr for Failpoint {
    type Err = ParseFailpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || ParseFailpointError(text.to_owned());
        let (step, action) = text.split_once(':').ok_or_else(unknown)?;
        let effect = match action {
            "exit" => Effect::Exit,
            "hang" => Effect::Hang,
            _other => return Err(unknown()),
        };
        Ok(Self { step: step.to_owned(), effect, reached: watch::Sender::new(false) })
    }
}

impl Failpoint {
    /// From the environment, read once when control starts.
    ///
    /// # Errors
    /// When the variable is set to something else than `STEP:ACTION`.
    pub fn from_env() -> Result<Option<Self>, ParseFailpointError> {
        std::env::var(VARIABLE).ok().map(|text| text.parse()).transpose()
    }

    /// Returns once a transfer has arrived here.
    pub async fn reached(&self) {
        // this value holds the sender itself, so it can not be gone
        let _never_closed = self.reached.subscribe().wait_for(|reached| *reached).await.is_err();
    }

    /// Passes by, or does what was asked for here.
    pub(crate) async fn pass(point: Option<&Self>, step: &str, done: bool) {
        let Some(point) = point else { return };
        let here = match point.step.strip_suffix(".done") {
            Some(name) => done && name == step,
            None => !done && point.step == step,
        };
        if here {
            point.strike().await;
        }
    }

    async fn strike(&self) {
        tracing::warn!(step = self.step, "failpoint reached");
        self.reached.send_replace(true);
        if self.effect == Effect::Exit
            && let Err(error) = kill(Pid::this(), Signal::SIGKILL)
        {
            tracing::error!(%error, "the failpoint could not kill this process");
        }
        let _never: Infallible = std::future::pending().await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Effect, Failpoint};

    #[test]
    fn a_failpoint_names_a_step_and_an_action() {
        let point: Failpoint = "decide.done:exit".parse().unwrap();
        assert_eq!((point.step.as_str(), point.effect), ("decide.done", Effect::Exit));
        assert!("decide".parse::<Failpoint>().is_err());
        assert!("decide:explode".parse::<Failpoint>().is_err());
    }

    #[tokio::test]
    async fn only_the_named_side_of_the_named_step_strikes() {
        let point: Failpoint = "fence:hang".parse().unwrap();
        Failpoint::pass(Some(&point), "fence", true).await;
        Failpoint::pass(Some(&point), "open", false).await;
        Failpoint::pass(None, "fence", false).await;
        let struck = Failpoint::pass(Some(&point), "fence", false);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), struck).await;
        assert!(waited.is_err(), "it hangs at its own step");
        point.reached().await;
    }
}
