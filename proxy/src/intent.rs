//! What control last said, in our own words, and how it survives a restart.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use cutover::{Epoch, ParsePhaseError, Phase, Side};
use rpc::v1;
use serde::{Deserialize, Serialize};

/// Control's word on one capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) phase: Phase,
    /// Who writes are sent to.
    pub(crate) owner: Side,
    /// The guard epoch at which control saw that owner.
    pub(crate) epoch: Epoch,
    /// A hold does not survive a restart: its lease would be over.
    #[serde(skip)]
    pub(crate) hold: Option<HoldIntent>,
}

/// Control wants the writes held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HoldIntent {
    /// Latest epoch anybody was known to be open at when it began.
    pub(crate) since: Epoch,
    /// How long it counts after control was last heard.
    pub(crate) lease: Duration,
}

/// A route table as the proxy keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intents {
    pub(crate) generation: u64,
    pub(crate) capabilities: BTreeMap<String, Intent>,
}

/// A message of control could not be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IntentError {
    /// Control knows words this version does not.
    #[error("capability {capability:?} has a phase or owner this version does not know")]
    UnknownWord {
        capability: String,
        #[source]
        source: ParsePhaseError,
    },
}

/// The state file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateFileError {
    #[error("cannot read or write {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a saved route table; move it away to start without one", path.display())]
    Content {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl Default for Intent {
    /// Nothing was ever said: the monolith does everything.
    fn default() -> Self {
        Self { phase: Phase::Monolith, owner: Side::Source, epoch: Epoch::NONE, hold: None }
    }
}

impl Intent {
    /// Reads one route state. The hold's `since` is the state's own epoch; the keeper raises it.
    ///
    /// # Errors
    /// When a word is unknown.
    pub(crate) fn of(state: &v1::RouteState) -> Result<Self, IntentError> {
        let unknown =
            |source| IntentError::UnknownWord { capability: state.capability.clone(), source };
        let owner = match state.owner.as_str() {
            "source" => Side::Source,
            "target" => Side::Target,
            other => return Err(unknown(ParsePhaseError(other.to_owned()))),
        };
        let epoch = Epoch(state.epoch);
        let lease = Duration::from_millis(state.hold_lease_ms);
        Ok(Self {
            phase: state.phase.parse().map_err(unknown)?,
            owner,
            epoch,
            hold: state.hold.then_some(HoldIntent { since: epoch, lease }),
        })
    }
}

impl Intents {
    /// Reads a saved table; `None` when there is no file yet.
    ///
    /// # Errors
    /// When the file exists and is of no use.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, StateFileError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateFileError::Io { path: path.to_owned(), source }),
        };
        let content = |source| StateFileError::Content { path: path.to_owned(), source };
        serde_json::from_slice(&text).map(Some).map_err(content)
    }

    /// Writes the table so that a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// When a step fails; the old file is still there.
    pub(crate) fn write(&self, path: &Path) -> Result<(), StateFileError> {
        let content = |source| StateFileError::Content { path: path.to_owned(), source };
        let text = serde_json::to_vec_pretty(self).map_err(content)?;
        replace(path, &text).map_err(|source| StateFileError::Io { path: path.to_owned(), source })
    }
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(phase: &str, owner: &str, hold: bool) -> v1::RouteState {
        v1::RouteState {
            capability: "tickets".to_owned(),
            phase: phase.to_owned(),
            owner: owner.to_owned(),
            epoch: 4,
            hold,
            hold_lease_ms: 2_000,
        }
    }

    #[test]
    fn a_route_state_is_read_word_by_word() {
        let intent = Intent::of(&state("reading 10%", "source", true)).expect("known words");
        assert_eq!(intent.phase, Phase::Reading { percent: 10 });
        assert_eq!((intent.owner, intent.epoch), (Side::Source, Epoch(4)));
        let lease = Duration::from_secs(2);
        assert_eq!(intent.hold, Some(HoldIntent { since: Epoch(4), lease }));
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(Intent::of(&state("dancing", "source", false)).is_err());
        assert!(Intent::of(&state("switched", "both", false)).is_err());
    }

    #[test]
    fn a_saved_table_comes_back_without_its_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        assert_eq!(Intents::read(&path).expect("no file is fine"), None);
        let intent = Intent::of(&state("switched", "target", true)).expect("known words");
        let capabilities = BTreeMap::from([("tickets".to_owned(), intent)]);
        Intents { generation: 7, capabilities }.write(&path).expect("written");
        let read = Intents::read(&path).expect("readable").expect("there");
        assert_eq!(read.generation, 7);
        let expected = Intent { hold: None, ..intent };
        assert_eq!(read.capabilities.get("tickets"), Some(&expected));
    }

    #[test]
    fn a_broken_state_file_is_an_error_and_not_an_empty_table() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        std::fs::write(&path, "{").expect("written");
        assert!(matches!(Intents::read(&path), Err(StateFileError::Content { .. })));
    }
}
