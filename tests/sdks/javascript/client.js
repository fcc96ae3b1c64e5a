// Answers each line `identity` with who STS says this process is, by way of the default chain of the SDK.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { STSClient, GetCallerIdentityCommand } from "@aws-sdk/client-sts";

const client = new STSClient({});
const answers = {
  version: async () => ({ version: createRequire(import.meta.url)("@aws-sdk/client-sts/package.json").version }),
  identity: async () => ({ arn: (await client.send(new GetCallerIdentityCommand({}))).Arn }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await answers[line]().catch((error) => ({ error: `${error.name}: ${error.message}` }));
  console.log(JSON.stringify(answer));
}
