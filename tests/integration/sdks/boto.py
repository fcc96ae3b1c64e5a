"""Prints the credentials that boto3's default chain finds, and who STS says they are."""

import json
import os

import boto3

credentials = boto3.Session().get_credentials()
if credentials is None:
    raise SystemExit("no credentials")
frozen = credentials.get_frozen_credentials()
identity = boto3.client("sts", endpoint_url=os.environ["STS_URL"], verify=os.environ["STS_CA"],
                        region_name=os.environ["AWS_REGION"]).get_caller_identity()
print(json.dumps({"method": credentials.method, "AccessKeyId": frozen.access_key,
                  "SecretAccessKey": frozen.secret_key, "SessionToken": frozen.token, "Identity": identity["Arn"]}))
