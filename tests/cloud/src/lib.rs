//! A faithful local cloud for what Perennial uses of AWS.
//!
//! One loopback port speaks EC2 Query, DynamoDB, EventBridge, the Lambda Runtime API and control endpoints of its own.
//! [`model`] decides what AWS would do, in virtual time and without I/O; [`Server`] puts it on the wire, feeds the
//! events to the functions of the SAM template, and runs these. Nothing here reaches the real AWS or is reachable from
//! another machine.

mod agenda;
mod bus;
mod calls;
mod clock;
mod control;
mod dynamodb;
pub mod ec2;
mod eventbridge;
mod faults;
mod host;
mod iam;
mod invocations;
mod journal;
mod log;
pub mod model;
mod pattern;
mod process;
mod runtime_api;
mod server;
mod streams;
mod template;
mod world;

pub use iam::{RightsError, rights_table, unused_rights};
pub use log::FunctionOutput;
pub use server::{Functions, Options, Server, StartError};
pub use template::TemplateError;
