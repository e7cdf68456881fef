//! What the proxy lets pass as HTTP, decided over bytes alone: which heads and bodies have one meaning
//! only, what a path is called, who sent a request through which hops. No IO, no clock.
//!
//! The rules are those of RFC 9110, 9112 and 3986, and stricter where two servers in a row are known to
//! read the same bytes in two ways.

pub mod body;
pub mod cookie;
pub mod field;
pub mod forwarded;
pub mod head;
pub mod path;
