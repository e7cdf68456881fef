//! A proxy in front of one upstream, without migration state.

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::world::Running;

/// A running proxy.
pub(crate) struct Plain {
    pub(crate) proxy: Running,
    _folder: TempDir,
}

impl Plain {
    /// `more` is added to the section `[upstreams.monolith]`.
    pub(crate) async fn start(upstream: SocketAddr, more: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("routes.toml");
        let text = format!(
            "version = 1\n[proxy]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n\
             [upstreams.monolith]\npeers = [\"{upstream}\"]\n{more}\n"
        );
        std::fs::write(&path, text)?;
        let proxy = Running::start(path).await?;
        Ok(Self { proxy, _folder: folder })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.proxy.listen
    }
}
