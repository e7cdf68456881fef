//! Request Tracker itself, in private: configuration, databases by its own tools, web server, and what its
//! administrators run from cron. Nothing of the machine's installation is changed.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::unistd::{Uid, User};
use testkit::{ChildSpec, Cluster, RunningChild};
use tokio::process::Command;

use super::packages::{SETUP_DATABASE, SETUP_INDEX, WEB_SERVER};

/// Its database, on both servers.
pub(super) const DATABASE: &str = "rt5";

/// The role it logs in as; it owns nothing.
pub(super) const ROLE: &str = "rt_user";

/// The account that Debian's packages expect.
const ACCOUNT: &str = "www-data";

/// Processes that answer requests.
const WORKERS: &str = "3";

/// A Perl program with many modules on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Request Tracker with its private directory.
#[derive(Debug)]
pub(super) struct Tracker {
    dir: PathBuf,
    account: Option<User>,
    webs: Vec<RunningChild>,
}

impl Tracker {
    /// Lays down its database on the source with its first data and the full-text index, and the empty
    /// tables on the target. `public_port` is where its users reach it.
    pub(super) async fn install(
        dir: &Path,
        source: &Cluster,
        target: &Cluster,
        public_port: u16,
    ) -> anyhow::Result<Self> {
        let account = if Uid::effective().is_root() {
            let found = User::from_name(ACCOUNT).context("look up the web server's account")?;
            Some(found.with_context(|| format!("there is no account {ACCOUNT}"))?)
        } else {
            None
        };
        let tracker = Self { dir: dir.to_owned(), account, webs: Vec::new() };
        for each in [dir.to_owned(), dir.join("conf.d"), dir.join("mason")] {
            fs::create_dir_all(&each).with_context(|| format!("create {}", each.display()))?;
            tracker.own(&each)?;
        }
        for (name, cluster) in [("source", source), ("target", target)] {
            let file = tracker.config(name);
            fs::write(&file, site_config(dir, cluster.port(), public_port))
                .with_context(|| format!("write {}", file.display()))?;
            tracker.own(&file)?;
        }
        for action in ["create", "schema", "acl"] {
            tracker.set_up("target", SETUP_DATABASE, &["--action", action]).await?;
        }
        tracker.set_up("source", SETUP_DATABASE, &["--action", "init"]).await?;
        tracker.set_up("source", SETUP_INDEX, &["--noask"]).await?;
        tracker.let_cron_in(source).await?;
        Ok(tracker)
    }

    /// Its command line tools act as the user whose `Gecos` names the account they run under.
    async fn let_cron_in(&self, source: &Cluster) -> anyhow::Result<()> {
        let own = User::from_uid(Uid::effective()).context("look up our own account")?;
        let account = self.account.clone().or(own).context("our own account has no name")?;
        let client = source.connect(DATABASE).await?;
        let sql = "UPDATE users SET gecos = $1 WHERE name = 'root'";
        client.execute(sql, &[&account.name]).await.context("let cron's tools in")?;
        Ok(())
    }

    /// Starts a web server on this address and waits for its first page.
    pub(super) async fn serve(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let (program, arguments) = self.as_account(WEB_SERVER);
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let log = self.dir.join(format!("web-{host}.log"));
        let mut child = ChildSpec::new("request-tracker", program, log)
            .args(arguments)
            .args(["--server", "Starman", "--host", &host, "--port", &port])
            .args(["--workers", WORKERS, "--max-requests", "1000"])
            .env("RT_SITE_CONFIG", self.config("source"))
            .env("RT_SITE_CONFIG_DIR", self.dir.join("conf.d"))
            .with_descendants()
            .spawn()?;
        child.wait_ready(address, "/", READY_WITHIN).await?;
        self.webs.push(child);
        Ok(())
    }

    /// Runs one of its programs against the source.
    pub(super) async fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        self.run_with("source", program, arguments).await
    }

    /// Ends the web servers.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        for web in self.webs.drain(..) {
            web.terminate().await?;
        }
        Ok(())
    }

    async fn set_up(&self, config: &str, program: &str, how: &[&str]) -> anyhow::Result<()> {
        let mut arguments = how.to_vec();
        // the servers trust everybody on the loopback interface, the tools ask nevertheless
        arguments.extend(["--dba", "postgres", "--dba-password", "unused"]);
        self.run_with(config, program, &arguments).await
    }

    async fn run_with(&self, config: &str, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let (program, before) = self.as_account(name);
        let output = Command::new(program)
            .args(before)
            .args(arguments)
            .env("RT_SITE_CONFIG", self.config(config))
            .env("RT_SITE_CONFIG_DIR", self.dir.join("conf.d"))
            .current_dir("/")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("run {name}"))?;
        if !output.status.success() {
            bail!(
                "{name} {} ended with {}:\n{}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// The program and the arguments that run `program` under the web server's account.
    fn as_account(&self, program: &str) -> (PathBuf, Vec<String>) {
        let Some(account) = &self.account else { return (program.into(), Vec::new()) };
        let ids = [format!("--reuid={}", account.uid), format!("--regid={}", account.gid)];
        let mut arguments = ids.to_vec();
        arguments.extend(["--clear-groups".to_owned(), "--".to_owned(), program.to_owned()]);
        ("setpriv".into(), arguments)
    }

    fn config(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.pm"))
    }

    fn own(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(account) = &self.account {
            let (user, group) = (account.uid.as_raw(), account.gid.as_raw());
            chown(path, Some(user), Some(group))
                .with_context(|| format!("give {} to {ACCOUNT}", path.display()))?;
        }
        Ok(())
    }
}

/// Mail is kept in a file that vanishes; compiled pages stay in our directory.
fn site_config(dir: &Path, database_port: u16, public_port: u16) -> String {
    format!(
        "Set($rtname, 'rt.e2e'); Set($Organization, 'e2e.local');\n\
         Set($WebDomain, '127.0.0.1'); Set($WebPort, {public_port}); Set($WebPath, '');\n\
         Set($RestrictReferrer, 0); Set($WebSessionClass, 'Apache::Session::Postgres');\n\
         Set($DatabaseType, 'Pg'); Set($DatabaseName, '{DATABASE}');\n\
         Set($DatabaseHost, '127.0.0.1'); Set($DatabaseRTHost, '127.0.0.1');\n\
         Set($DatabasePort, '{database_port}'); Set($DatabaseAdmin, 'postgres');\n\
         Set($DatabaseUser, '{ROLE}'); Set($DatabasePassword, 'unused');\n\
         Set(%FullTextSearch, Enable => 1, Indexed => 1, Column => 'ContentIndex',\n    \
             Table => 'AttachmentsIndex');\n\
         Set($MailCommand, 'testfile'); Set($LogToSyslog, undef); Set($LogToSTDERR, 'error');\n\
         Set(%GnuPG, Enable => 0); Set(%SMIME, Enable => 0);\n\
         $RT::MasonDataDir = '{}';\n1;\n",
        dir.join("mason").display()
    )
}
