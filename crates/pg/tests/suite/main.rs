//! The codec against bytes made by hand after the protocol's documentation, and against chance.

mod build;
mod frames;
mod names;
mod pgoutput;
mod properties;
