//! Compares the answers of two upstreams to the same request: status, content type, and bodies as
//! typed JSON, pages, lines or bytes. Keeps no values, only keyed hashes of them, and refuses to do any IO.

mod body;
mod hash;
mod json;
mod markup;
mod response;
mod rules;

pub use body::{Difference, Kind, Outcome, compare};
pub use hash::{HashKey, ValueHash};
pub use response::{Head, HeadDifference, compare_heads};
pub use rules::{Rules, RulesError};
