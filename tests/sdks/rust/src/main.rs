//! Answers each line `identity` with who STS says this process is, by way of the SDK's default chain.

use aws_config::BehaviorVersion;
use aws_sdk_sts::error::DisplayErrorContext;
use aws_smithy_http_client::tls::{rustls_provider::CryptoMode, Provider};
use serde_json::{json, Value};
use tokio::io::{AsyncBufReadExt, BufReader};

async fn identity(client: &aws_sdk_sts::Client) -> Value {
    match client.get_caller_identity().send().await {
        Ok(who) => json!({"arn": who.arn()}),
        Err(error) => json!({"error": DisplayErrorContext(error).to_string()}),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let client = aws_sdk_sts::Client::new(&config);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.expect("a line") {
        let answer = match line.as_str() {
            "version" => json!({"version": aws_sdk_sts::meta::PKG_VERSION}),
            _ => identity(&client).await,
        };
        println!("{answer}");
    }
}
