//! The codec on what a real server sends: beside another decoder, and with the bytes mutated.

#[path = "captured/decoders.rs"]
mod decoders;
#[path = "captured/mutations.rs"]
mod mutations;
#[path = "captured/source.rs"]
mod source;
