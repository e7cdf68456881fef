//! The gRPC protocol between proxies, replicators and control, generated from `proto/ficus.proto`,
//! with conversions to the words of `cutover`. Holds no logic.

mod convert;

pub use convert::ConvertError;

/// Generated messages, clients and servers of `ficus.v1`.
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("ficus.v1");
}
