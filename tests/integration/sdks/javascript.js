// Prints the credentials that the AWS SDK for JavaScript v3 finds with its default chain, and who STS says they are.
const { createRequire } = require("module");
const { STSClient, GetCallerIdentityCommand } = createRequire(process.env.JAVASCRIPT_SDK + "/")("@aws-sdk/client-sts");

(async () => {
  const client = new STSClient({ region: process.env.AWS_REGION, endpoint: process.env.STS_URL });
  const credentials = await client.config.credentials();
  const identity = await client.send(new GetCallerIdentityCommand({}));
  console.log(JSON.stringify({
    AccessKeyId: credentials.accessKeyId, SecretAccessKey: credentials.secretAccessKey,
    SessionToken: credentials.sessionToken, Identity: identity.Arn,
  }));
})().catch((error) => { console.error(error.message); process.exit(1); });
