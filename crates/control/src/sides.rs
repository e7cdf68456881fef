//! Connections to the two databases of a capability, made when needed and made again when lost.

use std::{sync::Arc, time::Duration};

use cutover::{GuardPair, GuardRow, Side};
use guard::{GuardClient, GuardError, GuardRecord};
use routes::{Capability, Config};
use tokio::sync::Mutex;

/// Longer than any lock timeout inside the guard functions.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Why a side could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SideError {
    /// The guard said no, or the connection failed.
    #[error("{side}: {source}")]
    Guard {
        /// Which database.
        side: Side,
        /// What it said.
        source: GuardError,
    },
    /// Nothing came back; the outcome is unknown.
    #[error("{side}: no answer within {ANSWER_WITHIN:?}")]
    TimedOut {
        /// Which database.
        side: Side,
    },
    /// The capability has no guard row there.
    #[error("{side}: {capability} has no guard here; run: ficus start {capability}")]
    NotInstalled {
        /// Which database.
        side: Side,
        /// Which capability.
        capability: String,
    },
}

impl SideError {
    pub(crate) const fn guard(&self) -> Option<&GuardError> {
        match self {
            Self::Guard { source, .. } => Some(source),
            Self::TimedOut { .. } | Self::NotInstalled { .. } => None,
        }
    }
}

#[derive(Debug)]
struct SideLink {
    side: Side,
    url: String,
    client: Mutex<Option<Arc<GuardClient>>>,
}

/// One capability's two databases.
#[derive(Debug)]
pub(crate) struct Sides {
    capability: String,
    source: SideLink,
    target: SideLink,
}

impl SideLink {
    fn new(side: Side, url: &str) -> Self {
        Self { side, url: url.to_owned(), client: Mutex::new(None) }
    }

    async fn client(&self) -> Result<Arc<GuardClient>, SideError> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(self.connect().await?);
        *slot = Some(Arc::clone(&client));
        Ok(client)
    }

    async fn connect(&self) -> Result<GuardClient, SideError> {
        self.within(GuardClient::connect(&self.url, "ficus-control")).await
    }

    /// A call without an answer leaves a connection nobody should wait on again.
    async fn forget(&self) {
        *self.client.lock().await = None;
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, GuardError>>,
    ) -> Result<T, SideError> {
        match tokio::time::timeout(ANSWER_WITHIN, call).await {
            Ok(answer) => answer.map_err(|source| SideError::Guard { side: self.side, source }),
            Err(_elapsed) => Err(SideError::TimedOut { side: self.side }),
        }
    }
}

impl Sides {
    /// `None` when one of the upstreams has no database.
    pub(crate) fn of(config: &Config, capability: &Capability) -> Option<Self> {
        let url = |upstream: &str| config.upstreams.get(upstream)?.database.as_ref();
        Some(Self {
            capability: capability.name.clone(),
            source: SideLink::new(Side::Source, url(routes::MONOLITH)?.expose()),
            target: SideLink::new(Side::Target, url(&capability.upstream)?.expose()),
        })
    }

    const fn link(&self, side: Side) -> &SideLink {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// The kept connection, for guard functions and reads that are quick.
    pub(crate) async fn client(&self, side: Side) -> Result<Arc<GuardClient>, SideError> {
        self.link(side).client().await
    }

    /// A connection of its own, for looking while the kept one waits.
    pub(crate) async fn separate(&self, side: Side) -> Result<GuardClient, SideError> {
        self.link(side).connect().await
    }

    /// Bounds a call; a call that times out gives its connection up.
    pub(crate) async fn call<T>(
        &self,
        side: Side,
        call: impl Future<Output = Result<T, GuardError>>,
    ) -> Result<T, SideError> {
        let answer = self.link(side).within(call).await;
        if matches!(answer, Err(SideError::TimedOut { .. })) {
            self.link(side).forget().await;
        }
        answer
    }

    /// This capability's guard on one side, as it is now.
    pub(crate) async fn record(&self, side: Side) -> Result<GuardRecord, SideError> {
        let client = self.client(side).await?;
        let records = self.call(side, client.view()).await?;
        records
            .into_iter()
            .find(|record| record.capability == self.capability)
            .ok_or_else(|| SideError::NotInstalled { side, capability: self.capability.clone() })
    }

    /// One guard row as it is now.
    pub(crate) async fn row(&self, side: Side) -> Result<GuardRow, SideError> {
        Ok(self.record(side).await?.row)
    }

    /// Both guard rows as they are now.
    pub(crate) async fn pair(&self) -> Result<GuardPair, SideError> {
        let (source, target) = tokio::join!(self.row(Side::Source), self.row(Side::Target));
        Ok(GuardPair { source: source?, target: target? })
    }
}
