//! `[proxy]`, the part about running one process.

use crate::{AccessLog, Operations, Shed, field::Field, reader::Section, scalar};

/// Less than a proxy needs for itself: everything would be refused at once.
const MEMORY_MIN: usize = 32 << 20;

pub(super) fn operations(section: &Section<'_>) -> Option<Operations> {
    let handover = section.read_optional("handover", Field::text);
    let lame_duck = section.read("lame_duck", Field::duration);
    let drain = section.read("drain", Field::duration);
    let shed = section.table("shed").and_then(|section| shed(&section));
    let access_log = section.table("access_log").and_then(|section| access_log(&section));
    Some(Operations {
        handover: handover?.map(Into::into),
        lame_duck: lame_duck?,
        drain: drain?,
        shed: shed?,
        access_log: access_log?,
    })
}

fn shed(section: &Section<'_>) -> Option<Shed> {
    let requests = section.read("requests", Field::count);
    let memory = section.read_optional("memory", |field| field.parsed(scalar::size));
    if let Some(Some(..MEMORY_MIN)) = memory {
        let remedy = "write at least \"32MiB\"";
        section.reader.report(&section.at("memory"), "is less than an idle proxy needs", remedy);
    }
    let memory = memory?.map(u64::try_from).transpose().ok()?;
    Some(Shed { requests: usize::try_from(requests?).ok()?, memory })
}

fn access_log(section: &Section<'_>) -> Option<AccessLog> {
    let sample = section.read("sample", |field| field.number(0.0, 1.0));
    let slow = section.read("slow", Field::duration);
    let file = section.read_optional("file", Field::text);
    Some(AccessLog { sample: sample?, slow: slow?, file: file?.map(Into::into) })
}
