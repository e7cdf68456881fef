//! `ficus table` and `ficus ddl`: tables that wait while the others of their stream go on.

use std::time::Duration;

use control::api::{ChangedTable, Status, TableAnswer, TableStatus};
use serde_json::json;

use crate::args::{DdlCommand, TableCommand, TableNamed};
use crate::exit::Failure;
use crate::online::Online;
use crate::progress::{copy_bar, replay_bar};

/// How often a waiting command looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// One table of one stream.
#[derive(Clone, Debug, serde::Serialize)]
struct Listed {
    capability: String,
    stream: String,
    #[serde(flatten)]
    table: TableStatus,
}

/// `ficus table ...`
pub(crate) async fn table(online: &Online, command: &TableCommand) -> anyhow::Result<()> {
    match command {
        TableCommand::List(wanted) => list(online, wanted.capability.as_deref()).await,
        TableCommand::Retry(named) => act(online, "retry", named).await,
        TableCommand::Skip(named) => act(online, "skip", named).await,
        TableCommand::Resync(named) => act(online, "resync", named).await,
    }
}

/// `ficus ddl ...`
pub(crate) async fn ddl(online: &Online, command: &DdlCommand) -> anyhow::Result<()> {
    match command {
        DdlCommand::Show(wanted) => show(online, wanted.capability.as_deref()).await,
        DdlCommand::Accept(named) => act(online, "accept", named).await,
    }
}

async fn list(online: &Online, capability: Option<&str>) -> anyhow::Result<()> {
    let tables = listed(online, capability).await?;
    online.out.object(&tables)?;
    if tables.is_empty() {
        return online.out.line("no stream has tables; ficus start NAME creates streams");
    }
    for listed in &tables {
        for line in lines(listed) {
            online.out.line(&line)?;
        }
    }
    Ok(())
}

/// A table, why it waits, and what to type.
fn lines(listed: &Listed) -> Vec<String> {
    let Listed { capability, stream, table } = listed;
    let mut first = format!("{capability} {stream:<9} {:<32} {:<11}", table.source, table.state);
    if table.parked_rows > 0 {
        first.push_str(&format!(
            " {} changes parked, {} KiB",
            table.parked_rows,
            table.parked_bytes.div_ceil(1024)
        ));
    }
    if table.skipped > 0 {
        first.push_str(&format!(" {} skipped", table.skipped));
    }
    let mut lines = vec![first.trim_end().to_owned()];
    if !table.reason.is_empty() {
        lines.push(format!("    {}", table.reason));
    }
    lines.extend(next_commands(listed).into_iter().map(|command| format!("    {command}")));
    lines
}

fn next_commands(listed: &Listed) -> Vec<String> {
    let Listed { capability, table, .. } = listed;
    let of = |verb: &str| format!("ficus {verb} {capability} {}", table.source);
    match table.state.as_str() {
        "quarantined" | "changed" if table.needs_resync => vec![of("table resync")],
        "quarantined" => vec![
            format!("{}   once the row is mended", of("table retry")),
            format!("{}    leaves the change out", of("table skip")),
            format!("{}  copies the table again", of("table resync")),
        ],
        "changed" => vec![format!("ficus ddl show {capability}"), of("ddl accept")],
        _ => Vec::new(),
    }
}

async fn listed(online: &Online, capability: Option<&str>) -> anyhow::Result<Vec<Listed>> {
    let status: Status = online.control.get("/api/v1/status").await?;
    let known: Vec<String> = status.capabilities.iter().map(|one| one.name.clone()).collect();
    if let Some(wanted) = capability
        && !known.iter().any(|name| name == wanted)
    {
        let known = known.join(", ");
        let message = format!("there is no capability {wanted:?}; one of: {known}");
        return Err(Failure::Usage(message).into());
    }
    let mut tables = Vec::new();
    for one in status.capabilities {
        if capability.is_some_and(|wanted| wanted != one.name) {
            continue;
        }
        for stream in one.streams {
            tables.extend(stream.tables.into_iter().map(|table| Listed {
                capability: one.name.clone(),
                stream: stream.kind.clone(),
                table,
            }));
        }
    }
    Ok(tables)
}

/// Asks, and waits until the table is ready or waits again.
async fn act(online: &Online, action: &str, named: &TableNamed) -> anyhow::Result<()> {
    let capability = named.capability.as_str();
    let table = full_name(online, capability, &named.table).await?;
    let stream = named.stream.clone().unwrap_or_default();
    let body = json!({ "action": action, "table": table, "stream": stream });
    let path = format!("/api/v1/capabilities/{capability}/table");
    let answer = online.control.post(&path, &body).await?;
    let answer: TableAnswer = serde_json::from_value(answer)?;
    if named.no_wait {
        online.out.object(&answer)?;
        let (state, table) = (&answer.state, &answer.table);
        return online
            .out
            .line(&format!("{table} is {state}; follow it with: ficus table list {capability}"));
    }
    let ended = wait(online, capability, &answer).await?;
    online.out.object(&ended)?;
    if ended.table.state == "ready" {
        let skipped = ended.table.skipped;
        let note = if action == "skip" {
            format!(
                ", {skipped} changes left out in all; what differs now: ficus verify {capability}"
            )
        } else {
            String::new()
        };
        return online.out.line(&format!("{table} is ready{note}"));
    }
    anyhow::bail!("{}", lines(&ended).join("\n"))
}

async fn wait(online: &Online, capability: &str, answer: &TableAnswer) -> anyhow::Result<Listed> {
    let bar = if answer.state == "resyncing" { copy_bar() } else { replay_bar() };
    // Until the stream runs again it may still be shown as before.
    let mut was_seen = false;
    loop {
        let tables = listed(online, Some(capability)).await?;
        let found = tables
            .into_iter()
            .find(|each| each.stream == answer.stream && each.table.source == answer.table);
        if let Some(found) = found {
            let table = &found.table;
            match table.state.as_str() {
                "resyncing" => {
                    bar.set_length(table.rows_estimated.max(table.rows_copied));
                    bar.set_position(table.rows_copied);
                    was_seen = true;
                }
                "replaying" => {
                    bar.set_message(format!("{} changes to replay", table.parked_rows));
                    was_seen = true;
                }
                "ready" => {
                    bar.finish_and_clear();
                    return Ok(found);
                }
                _ if was_seen => {
                    bar.finish_and_clear();
                    return Ok(found);
                }
                _ => was_seen = true,
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// `ticket` stands for `public.ticket` where only one schema has it.
async fn full_name(online: &Online, capability: &str, table: &str) -> anyhow::Result<String> {
    if table.contains('.') {
        return Ok(table.to_owned());
    }
    let tables = listed(online, Some(capability)).await?;
    let mut names: Vec<String> = tables
        .into_iter()
        .map(|each| each.table.source)
        .filter(|source| source.rsplit('.').next() == Some(table))
        .collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let message =
                format!("{capability} has no table {table}: ficus table list {capability}");
            Err(Failure::Usage(message).into())
        }
        several => {
            let message = format!("{table} may be {}: say which", several.join(" or "));
            Err(Failure::Usage(message).into())
        }
    }
}

async fn show(online: &Online, capability: Option<&str>) -> anyhow::Result<()> {
    let query = capability.map(|name| format!("?capability={name}")).unwrap_or_default();
    let tables: Vec<ChangedTable> = online.control.get(&format!("/api/v1/changes{query}")).await?;
    online.out.object(&tables)?;
    if tables.is_empty() {
        return online.out.line("no table waits because of a changed shape");
    }
    for table in &tables {
        for line in changed_lines(table, capability.unwrap_or("CAPABILITY")) {
            online.out.line(&line)?;
        }
    }
    Ok(())
}

fn changed_lines(table: &ChangedTable, capability: &str) -> Vec<String> {
    let mut lines = vec![format!("{} → {} ({} stream)", table.source, table.target, table.stream)];
    if table.changes.is_empty() {
        lines.push(format!("  {}", table.reason));
    }
    lines.extend(table.changes.iter().map(|change| format!("  {change}")));
    if !table.remedies.is_empty() {
        lines.push("  to do, by the service's migration and in routes.toml:".to_owned());
        lines.extend(table.remedies.iter().map(|remedy| format!("    {remedy}")));
    }
    let source = &table.source;
    if table.problems.is_empty() {
        let verb = if table.needs_resync { "table resync" } else { "ddl accept" };
        lines.push(format!("  the mapping fits; next: ficus {verb} {capability} {source}"));
    } else {
        lines.push("  the mapping does not fit yet:".to_owned());
        lines.extend(table.problems.iter().map(|problem| format!("    {problem}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(state: &str, needs_resync: bool) -> Listed {
        let table = json!({
            "source": "public.ticket", "target": "public.tickets", "state": state,
            "rows_copied": 1, "rows_estimated": 1, "reason": "conflict in public.tickets(7)",
            "parked_rows": 3, "parked_bytes": 2000, "skipped": 1, "needs_resync": needs_resync,
        });
        Listed {
            capability: "tickets".to_owned(),
            stream: "forward".to_owned(),
            table: serde_json::from_value(table).expect("it is a table"),
        }
    }

    #[test]
    fn a_table_that_waits_says_why_and_what_to_type() {
        let lines = lines(&listed("quarantined", false));
        assert!(lines[0].contains("3 changes parked, 2 KiB 1 skipped"), "{lines:?}");
        assert_eq!(lines[1], "    conflict in public.tickets(7)");
        assert!(lines[2].contains("ficus table retry tickets public.ticket"), "{lines:?}");
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn where_changes_were_dropped_only_a_resync_is_offered() {
        let commands = |state| next_commands(&listed(state, true));
        assert_eq!(commands("quarantined"), ["ficus table resync tickets public.ticket"]);
        assert_eq!(commands("changed"), ["ficus table resync tickets public.ticket"]);
        assert!(next_commands(&listed("ready", false)).is_empty());
    }

    #[test]
    fn a_changed_table_shows_what_to_do_until_the_mapping_fits() {
        let mut table = ChangedTable {
            stream: "forward".to_owned(),
            source: "public.ticket".to_owned(),
            target: "public.tickets".to_owned(),
            reason: "x".to_owned(),
            changes: vec!["column color text was added".to_owned()],
            remedies: vec!["ALTER TABLE ...;".to_owned()],
            problems: vec!["public.ticket.color: no such column".to_owned()],
            needs_resync: false,
        };
        let text = changed_lines(&table, "tickets").join("\n");
        assert!(text.contains("does not fit yet") && text.contains("ALTER TABLE"), "{text}");
        table.problems.clear();
        let text = changed_lines(&table, "tickets").join("\n");
        assert!(text.contains("next: ficus ddl accept tickets public.ticket"), "{text}");
    }
}
