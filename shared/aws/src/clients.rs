//! Builds the SDK clients, once per process.
//!
//! Nothing here touches the network: credentials are those that Lambda puts into the environment, and the
//! Region is a setting. `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>` are honoured as everywhere.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};

/// A connection that takes longer than this will not come about; another attempt may.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Attempts of one call: the default of the SDK, stated so that a new version does not change it unseen.
const ATTEMPTS: u32 = 3;

/// The clients of the three services.
#[derive(Clone, Debug)]
pub struct Clients {
    /// EC2 and EBS.
    pub ec2: aws_sdk_ec2::Client,
    /// The tables.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// The bus.
    pub eventbridge: aws_sdk_eventbridge::Client,
}

/// Builds the clients for a Region. In real time, `call_timeout` bounds one call, its retries included, and
/// `first_backoff` is the longest pause before the first of them; later pauses double.
pub async fn clients(region: &str, call_timeout: Duration, first_backoff: Duration) -> Clients {
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(first_backoff);
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(call_timeout).build();
    // One HTTP client for all: one load of the root certificates, one pool of connections.
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
        .build_https();
    let shared = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .credentials_provider(EnvironmentVariableCredentialsProvider::new())
        .retry_config(retries)
        .timeout_config(timeouts)
        .http_client(http)
        .load()
        .await;
    from(&shared)
}

/// The clients over a config that is already there.
pub fn from(shared: &SdkConfig) -> Clients {
    Clients {
        ec2: aws_sdk_ec2::Client::new(shared),
        dynamodb: aws_sdk_dynamodb::Client::new(shared),
        eventbridge: aws_sdk_eventbridge::Client::new(shared),
    }
}
