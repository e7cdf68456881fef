//! What operators ask for. Each command checks whether it makes sense now, refuses with a reason and a
//! remedy, and otherwise does it.

mod finish;
mod share;
mod start;
mod tables;
mod transfer;
mod verify;

pub(crate) use finish::{complete, set_paused};
pub(crate) use share::{ShiftTo, shift};
pub(crate) use start::start;
pub(crate) use tables::{TableWanted, changes, table};
pub(crate) use transfer::{Wanted, admit_transfer, transfer};
pub(crate) use verify::{Comparing, begin_verify, next_line};

use axum::http::StatusCode;

use crate::{board::Published, core::Core, problem::Problem};

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    /// As the request says.
    pub(crate) name: String,
    /// Where it came from.
    pub(crate) peer: String,
}

fn published(core: &Core, name: &str) -> Result<Published, Problem> {
    core.board.get(name).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "unknown_capability", format!("no capability {name:?}"))
    })
}

fn no_transfer(core: &Core, name: &str) -> Result<(), Problem> {
    if core.is_transferring(name) {
        return Err(under_way(core, name));
    }
    Ok(())
}

fn under_way(core: &Core, name: &str) -> Problem {
    let what = match core.running(name) {
        Some(running) => {
            let record = running.record.borrow();
            format!("{} {} of {name} is under way", record.direction.as_str(), record.id)
        }
        None => format!("a transfer of {name} is being checked"),
    };
    Problem::conflict("transfer_under_way", what).remedy("wait for its end: ficus status")
}
