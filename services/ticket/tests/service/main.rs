//! The ticket service against a real PostgreSQL, over real sockets.

mod auto_close;
mod dry_run;
mod fence;
mod grpc;
mod operations;
mod permissions;
mod reads;
mod shutdown;
mod world;
mod writes;
