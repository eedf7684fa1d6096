//! go-plugin's own services of `proto/go-plugin`, as generated: broker, controller, standard streams.

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
mod generated {
    tonic::include_proto!("plugin");
}

pub use generated::*;
