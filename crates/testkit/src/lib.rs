//! What tests and development tasks need from the outside world: private PostgreSQL clusters, child
//! processes, bounded waiting.
//!
//! Nothing here touches an installed database server's own data: every [`Cluster`] has its own
//! directory and port, and both are gone when it is dropped, when a test panics, and when the test
//! process is killed.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let cluster = testkit::Cluster::start().await?;
//! cluster.create_database("shop").await?;
//! let client = cluster.connect("shop").await?;
//! client.batch_execute("CREATE TABLE basket (id bigint PRIMARY KEY)").await?;
//! # Ok(())
//! # }
//! ```

mod account;
mod binaries;
mod cluster;
mod guard;
pub mod http;
mod packages;
mod port;
mod probe;
mod process;
mod redis;
mod server;
mod wait;

pub use binaries::{Binaries, MAJOR_MIN, unpack_dir};
pub use cluster::{Cluster, ClusterBuilder};
pub use nix::sys::signal::Signal;
pub use packages::{Need, PackageManager};
pub use port::free_port;
pub use probe::http_status;
pub use process::{ChildSpec, RunningChild};
pub use redis::Redis;
pub use tokio_postgres;
pub use wait::wait_until;
