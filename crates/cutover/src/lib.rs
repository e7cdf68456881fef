//! The words and decisions of a capability's move: phases, sides, epochs, guard rows, and the pure
//! machine of a transfer. Refuses to do any IO and has no clock: callers pass in what they saw.

mod capability;
mod epoch;
mod guard_row;
pub mod guard_rules;
mod machine;
mod sim;

pub use capability::{Direction, ParsePhaseError, Phase, Side, StreamKind};
pub use epoch::Epoch;
pub use guard_row::{GuardPair, GuardRow, GuardState, Ownership};
pub use machine::{
    Action, Event, FENCE_ATTEMPTS_MAX, State, Transition, TransitionError, recover, step,
};
pub use sim::{Report, simulate};
