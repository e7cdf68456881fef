//! The replicator between two real databases, through its gRPC service and the guard functions.

#[path = "replicator/world.rs"]
mod world;

#[path = "replicator/handover.rs"]
mod handover;
