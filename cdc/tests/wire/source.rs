//! A database of one test on the shared cluster, and readers of its stream.

use std::time::Duration;

use anyhow::Context;
use cdc::wire::{Frame, ReplicationClient, ReplicationStream, StartOptions};
use pg::{
    Lsn,
    pgoutput::{DecodeContext, Message, TupleValue, decode},
};
use testkit::{
    Cluster,
    tokio_postgres::{Client, Config},
};

/// Far above what any step takes; only a bug meets it.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

pub(crate) const PUBLICATION: &str = "everything";

/// Prefix of the logical message that ends what a test wants to read.
const END: &str = "test.end";

pub(crate) struct Source {
    pub(crate) database: &'static str,
    pub(crate) sql: Client,
    pub(crate) config: Config,
}

impl Source {
    /// A database of this name with the table `ticket` and a publication of all tables.
    pub(crate) async fn create(database: &'static str) -> anyhow::Result<Self> {
        Self::create_on(Cluster::shared().await?, database).await
    }

    pub(crate) async fn create_on(
        cluster: &Cluster,
        database: &'static str,
    ) -> anyhow::Result<Self> {
        cluster.create_database(database).await?;
        let sql = cluster.connect(database).await?;
        sql.batch_execute(&format!(
            "CREATE TABLE ticket (id bigint PRIMARY KEY, title text, body text);
             ALTER TABLE ticket ALTER body SET STORAGE EXTERNAL;
             CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES"
        ))
        .await?;
        Ok(Self { database, sql, config: cluster.url(database).parse()? })
    }

    pub(crate) async fn client(&self) -> anyhow::Result<ReplicationClient> {
        Ok(ReplicationClient::connect(&self.config.clone().into()).await?)
    }

    /// Makes a slot of the database's name and streams from it.
    pub(crate) async fn stream(&self) -> anyhow::Result<ReplicationStream> {
        self.stream_with(StartOptions::new([PUBLICATION])).await
    }

    pub(crate) async fn stream_with(
        &self,
        options: StartOptions,
    ) -> anyhow::Result<ReplicationStream> {
        let mut client = self.client().await?;
        client.create_slot(self.database, false).await?;
        Ok(client.start(self.database, Lsn::ZERO, options).await?)
    }

    /// Streams on from where the slot is.
    pub(crate) async fn stream_again(&self) -> anyhow::Result<ReplicationStream> {
        let options = StartOptions::new([PUBLICATION]);
        Ok(self.client().await?.start(self.database, Lsn::ZERO, options).await?)
    }

    /// Marks the place in the log up to which [`read_to_end`] reads.
    pub(crate) async fn mark_end(&self) -> anyhow::Result<()> {
        let sql = format!("SELECT pg_logical_emit_message(true, '{END}', '')");
        Ok(self.sql.batch_execute(&sql).await?)
    }

    /// One value of one row, as text.
    pub(crate) async fn value(&self, expression: &str) -> anyhow::Result<String> {
        let row = self.sql.query_one(&format!("SELECT ({expression})::text"), &[]).await?;
        Ok(row.try_get(0)?)
    }

    pub(crate) async fn confirmed_flush_lsn(&self) -> anyhow::Result<Lsn> {
        let expression = format!(
            "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{}'",
            self.database
        );
        Ok(self.value(&expression).await?.parse()?)
    }
}

/// The next frame, or an error instead of waiting for ever.
pub(crate) async fn next(stream: &mut ReplicationStream) -> anyhow::Result<Frame> {
    Ok(tokio::time::timeout(BOUND, stream.next()).await.context("wait for a frame")??)
}

/// The next message of the plugin with its xid, decoded; keeps track of `in_stream`.
pub(crate) async fn next_message(
    stream: &mut ReplicationStream,
    context: &mut DecodeContext,
) -> anyhow::Result<(Option<u32>, Message)> {
    loop {
        let Frame::Wal { data, .. } = next(stream).await? else { continue };
        let decoded = decode(data, *context)?;
        if matches!(decoded.message, Message::StreamStart(_) | Message::StreamStop) {
            context.in_stream = matches!(decoded.message, Message::StreamStart(_));
        }
        return Ok((decoded.stream_xid, decoded.message));
    }
}

/// All messages up to the transaction that [`Source::mark_end`] made, which is left out.
pub(crate) async fn read_to_end(stream: &mut ReplicationStream) -> anyhow::Result<Vec<Message>> {
    let mut messages = Vec::new();
    let mut context = DecodeContext::default();
    loop {
        let (_, message) = next_message(stream, &mut context).await?;
        if matches!(&message, Message::Logical(logical) if logical.prefix == END) {
            while !matches!(next_message(stream, &mut context).await?.1, Message::Commit(_)) {}
            messages.pop();
            return Ok(messages);
        }
        messages.push(message);
    }
}

/// The first column of each inserted row.
pub(crate) fn inserted_ids(messages: &[Message]) -> Vec<i64> {
    let id = |message: &Message| {
        let Message::Insert(insert) = message else { return None };
        Some(text(insert.new.get(0)?).parse().expect("an id"))
    };
    messages.iter().filter_map(id).collect()
}

pub(crate) fn text(value: TupleValue<'_>) -> &str {
    let bytes = if let TupleValue::Text(bytes) = value { Some(bytes) } else { None };
    std::str::from_utf8(bytes.expect("a value in text form")).expect("text is utf-8")
}

pub(crate) fn kinds(messages: &[Message]) -> Vec<&'static str> {
    messages.iter().map(Message::kind).collect()
}
