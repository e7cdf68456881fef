//! The replicator between two real databases, through its gRPC service and the guard functions.

#[path = "replicator/world.rs"]
mod world;

#[path = "replicator/background.rs"]
mod background;
#[path = "replicator/bounds.rs"]
mod bounds;
#[path = "replicator/changes.rs"]
mod changes;
#[path = "replicator/crashes.rs"]
mod crashes;
#[path = "replicator/handover.rs"]
mod handover;
#[path = "replicator/indexes.rs"]
mod indexes;
#[path = "replicator/kinds.rs"]
mod kinds;
#[path = "replicator/large.rs"]
mod large;
#[path = "replicator/life.rs"]
mod life;
#[path = "replicator/privileges.rs"]
mod privileges;
#[path = "replicator/repair.rs"]
mod repair;
#[path = "replicator/shapes.rs"]
mod shapes;
#[path = "replicator/tables.rs"]
mod tables;
#[path = "replicator/transfer.rs"]
mod transfer;
#[path = "replicator/verification.rs"]
mod verification;
#[path = "replicator/watching.rs"]
mod watching;
