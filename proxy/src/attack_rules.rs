//! Rule sets against attacks in the language of ModSecurity, such as the OWASP core rule set: read and
//! compiled once, asked about requests on threads of their own, within a budget. Reading them blocks.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use http::Version;
use pingora::http::RequestHeader;
use tokio::sync::Semaphore;
use tracing::subscriber::{NoSubscriber, with_default};
use zentinel_modsec::{
    CompiledRuleset, ModSecurity,
    engine::{phase::Phase, ruleset::RuleEngineMode},
    parser::OperatorName,
};

/// Files beside or below the one with the rules that are looked at for changes, and how deep.
const LOOKED_AT_MAX: usize = 2_000;
const DEPTH_MAX: usize = 4;

/// Identifiers of rules that are told about one request.
const TOLD_MAX: usize = 12;

/// Compiled rule files, by path; they last over reloads that leave them as they are.
#[derive(Debug)]
pub(crate) struct RuleSets {
    compiled: Mutex<BTreeMap<PathBuf, Arc<RuleSet>>>,
    /// Requests that may wait for rules at once.
    pub(crate) blocking: Arc<Semaphore>,
    /// Those that pass meanwhile.
    pub(crate) detecting: Arc<Semaphore>,
}

/// The compiled rules of one file.
#[derive(Debug)]
pub(crate) struct RuleSet {
    engine: ModSecurity,
    stamp: u64,
}

/// Rules that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleFileError {
    #[error("the rules of {file} cannot be used: {why}")]
    Unusable { file: String, why: String },
    #[error(
        "the rules of {0} do not deny anything: write SecRuleEngine On there, and mode = \"detect\" in the policy"
    )]
    NotOn(String),
}

/// The head of a request, as rules see it.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    method: String,
    target: String,
    protocol: &'static str,
    fields: Vec<(String, String)>,
    address: Option<IpAddr>,
}

/// What a rule set said about a request that it would deny.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// Rules that matched, in their order, at most twelve.
    pub(crate) rules: Vec<String>,
    /// Of the core rule set; 0 where rules do not count.
    pub(crate) score: i32,
}

/// The engine could not go through the rules.
#[derive(Debug, thiserror::Error)]
#[error("the rules could not be gone through: {0}")]
pub(crate) struct EngineFault(String);

impl Default for RuleSets {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            compiled: Mutex::default(),
            blocking: Arc::new(Semaphore::new(cores)),
            detecting: Arc::new(Semaphore::new(cores.div_ceil(2))),
        }
    }
}

impl RuleSets {
    /// Reads the files of a configuration that are new or have changed. Takes a second for large sets.
    ///
    /// # Errors
    /// When rules cannot be used; then the old ones stay.
    pub(crate) fn load(&self, gateway: &routes::GatewayConfig) -> Result<(), RuleFileError> {
        let mut loaded = Vec::new();
        for file in files(gateway) {
            let stamp = stamp(file);
            if self.get(file).is_none_or(|known| known.stamp != stamp) {
                loaded.push((file.to_owned(), Arc::new(RuleSet::read(file, stamp)?)));
            }
        }
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).extend(loaded);
        Ok(())
    }

    /// Reads the files of a configuration that nobody has read yet.
    ///
    /// # Errors
    /// When rules cannot be used.
    pub(crate) fn load_missing(
        &self,
        gateway: &routes::GatewayConfig,
    ) -> Result<(), RuleFileError> {
        if files(gateway).any(|file| self.get(file).is_none()) {
            self.load(gateway)
        } else {
            Ok(())
        }
    }

    /// Whether the files of a configuration are those that were read last.
    pub(crate) fn are_current(&self, gateway: &routes::GatewayConfig) -> bool {
        files(gateway).all(|file| self.get(file).is_some_and(|known| known.stamp == stamp(file)))
    }

    /// The rules of a file that was read.
    pub(crate) fn get(&self, file: &Path) -> Option<Arc<RuleSet>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(file).cloned()
    }
}

impl RuleSet {
    fn read(file: &Path, stamp: u64) -> Result<Self, RuleFileError> {
        let name = file.display().to_string();
        let unusable = |why: String| RuleFileError::Unusable { file: name.clone(), why };
        let path = file.to_str().ok_or_else(|| unusable("its name is not UTF-8".to_owned()))?;
        let engine = ModSecurity::from_file(path).map_err(|error| unusable(error.to_string()))?;
        if engine.rule_count() == 0 {
            return Err(unusable("there are none".to_owned()));
        }
        if let Some(rule) = dead_rule(engine.ruleset()) {
            return Err(unusable(format!("rule {rule} has an expression that cannot be compiled")));
        }
        match engine.ruleset().engine_mode() {
            RuleEngineMode::On => {}
            RuleEngineMode::Off | RuleEngineMode::DetectionOnly => {
                return Err(RuleFileError::NotOn(name));
            }
        }
        let rules = Self { engine, stamp };
        // Expressions are compiled when they are used first: here, and not while a client waits.
        let (head, body) = Head::ordinary();
        rules.examine(&head, body.as_bytes()).map_err(|fault| unusable(fault.to_string()))?;
        Ok(rules)
    }

    /// What the rules say about a request; `None`: nothing against it. Takes milliseconds.
    ///
    /// # Errors
    /// When the engine cannot tell.
    pub(crate) fn examine(&self, head: &Head, body: &[u8]) -> Result<Option<Denied>, EngineFault> {
        // The engine says about each request which directives it does not know; it said so when it read them.
        with_default(NoSubscriber::default(), || self.go_through(head, body))
    }

    fn go_through(&self, head: &Head, body: &[u8]) -> Result<Option<Denied>, EngineFault> {
        let fault = |error: zentinel_modsec::Error| EngineFault(error.to_string());
        let mut transaction = self.engine.new_transaction();
        if let Some(address) = head.address {
            transaction.set_client_addr(&address.to_string(), 0);
        }
        transaction.process_uri(&head.target, &head.method, head.protocol).map_err(fault)?;
        for (name, value) in &head.fields {
            transaction.add_request_header(name, value).map_err(fault)?;
        }
        transaction.process_request_headers().map_err(fault)?;
        transaction.append_request_body(body).map_err(fault)?;
        transaction.process_request_body().map_err(fault)?;
        if !transaction.has_intervention() {
            return Ok(None);
        }
        let rules = transaction.matched_rules().iter().take(TOLD_MAX).cloned().collect();
        Ok(Some(Denied { rules, score: transaction.anomaly_score() }))
    }
}

impl Head {
    /// An honest request that has a little of everything, and its body.
    fn ordinary() -> (Self, &'static str) {
        let fields = [
            ("host", "shop.example"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
            ("accept", "text/html,application/json"),
            ("referer", "https://shop.example/orders"),
            ("cookie", "session=1; theme=dark"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-length", "18"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (method, target) = ("POST".to_owned(), "/orders/new.html?page=1&sort=name".to_owned());
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        (Self { method, target, protocol: "HTTP/1.1", fields, address }, "name=Ann&number=12")
    }

    /// The head of a request. Bytes that are no UTF-8 are replaced.
    pub(crate) fn of(request: &RequestHeader, address: Option<IpAddr>) -> Self {
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let mut fields: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        // HTTP/2 names the host elsewhere, and rules want to see one.
        if !request.headers.contains_key(http::header::HOST)
            && let Some(authority) = request.uri.authority()
        {
            fields.push(("host".to_owned(), authority.to_string()));
        }
        let protocol = match request.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        };
        Self { method: request.method.to_string(), target, protocol, fields, address }
    }
}

/// A rule whose expression the engine replaced by one that never matches, with a line in its log.
fn dead_rule(rules: &CompiledRuleset) -> Option<&str> {
    let mut all = Phase::all().iter().flat_map(|phase| rules.rules_for_phase(*phase));
    let dead = all.find(|rule| {
        rule.operator_spec.name == OperatorName::Rx && !rule.operator.supports_capture()
    })?;
    Some(dead.id.as_deref().unwrap_or("without id"))
}

fn files(gateway: &routes::GatewayConfig) -> impl Iterator<Item = &Path> {
    gateway
        .policies
        .values()
        .filter_map(|policy| Some(policy.attack_rules.as_ref()?.file.as_path()))
}

/// Changes when the file, or one beside or below it, does.
fn stamp(file: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut open = vec![(file.parent().unwrap_or_else(|| Path::new(".")).to_owned(), 0)];
    let mut left = LOOKED_AT_MAX;
    while let Some((folder, depth)) = open.pop() {
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let mut entries: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::path);
        for entry in entries.into_iter().take(left) {
            left = left.saturating_sub(1);
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            if metadata.is_dir() && depth < DEPTH_MAX {
                open.push((entry.path(), depth + 1));
            } else if metadata.is_file() {
                (entry.path(), metadata.len(), metadata.modified().ok()).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
