"""Prints the credentials that the AWS C SDK (through awscrt) finds with its default chain."""

import json

from awscrt import auth, io

bootstrap = io.ClientBootstrap.get_or_create_static_default()
provider = auth.AwsCredentialsProvider.new_default_chain(bootstrap)
found = provider.get_credentials().result(20)
print(json.dumps({"AccessKeyId": found.access_key_id, "SecretAccessKey": found.secret_access_key,
                  "SessionToken": found.session_token}))
