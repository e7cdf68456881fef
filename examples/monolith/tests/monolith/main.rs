//! The monolith against a real PostgreSQL: what clients see, and what stays in the tables.

mod auto_close;
mod binary;
mod browser;
mod generator;
mod permissions;
mod tickets;
mod world;
