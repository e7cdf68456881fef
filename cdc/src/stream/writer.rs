//! The applier while it works: the log is read on meanwhile, so that the next piece of work is ready
//! when this one is done.

use std::{future::Future, pin::Pin};

use super::batch::{Work, WorkCommit};
use crate::{StreamError, apply::Applier, apply_row::TargetLog, change::Change};

type Writing = Pin<Box<dyn Future<Output = Result<(Applier, Written), StreamError>> + Send>>;

/// An applier that rests or works.
pub(super) struct Writer {
    state: State,
}

enum State {
    Idle(Box<Applier>),
    Busy(Writing),
    /// The work failed, and the target transaction with it.
    Broken,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) changes: Vec<Change>,
    /// How it was committed, and how far the target's log went then.
    pub(super) commit: Option<(WorkCommit, TargetLog)>,
}

impl Writer {
    pub(super) fn new(applier: Applier) -> Self {
        Self { state: State::Idle(Box::new(applier)) }
    }

    /// The applier, unless it works.
    pub(super) fn idle(&mut self) -> Option<&mut Applier> {
        match &mut self.state {
            State::Idle(applier) => Some(applier),
            State::Busy(_) | State::Broken => None,
        }
    }

    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle(_))
    }

    /// Begins the work; the applier must be idle.
    pub(super) fn begin(&mut self, work: Work) {
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Idle(applier) => self.state = State::Busy(Box::pin(write(*applier, work))),
            other @ (State::Busy(_) | State::Broken) => self.state = other,
        }
    }

    /// Waits until the work is done; for ever when there is none. Safe to cancel.
    ///
    /// # Errors
    /// Why it failed. The applier is gone then.
    pub(super) async fn done(&mut self) -> Result<Written, StreamError> {
        match &mut self.state {
            State::Busy(writing) => {
                let result = writing.as_mut().await;
                self.state = State::Broken;
                let (applier, written) = result?;
                self.state = State::Idle(Box::new(applier));
                Ok(written)
            }
            State::Idle(_) => std::future::pending().await,
            State::Broken => Err(StreamError::Worker),
        }
    }
}

async fn write(mut applier: Applier, work: Work) -> Result<(Applier, Written), StreamError> {
    let Work { changes, commit } = work;
    let is_parked = |change: &Change| matches!(change, Change::Parked(_));
    if changes.iter().any(is_parked) {
        let (parked, rows): (Vec<_>, Vec<_>) = changes.iter().cloned().partition(is_parked);
        applier.park(&parked).await?;
        if !rows.is_empty() {
            applier.write(&rows).await?;
        }
    } else if !changes.is_empty() {
        applier.write(&changes).await?;
    }
    let commit = match commit {
        Some(commit) => {
            let log = applier.commit(commit.end, commit.barrier.as_ref()).await?;
            Some((commit, log))
        }
        None => None,
    };
    Ok((applier, Written { changes, commit }))
}
