"""An AWS account as it looks from outside: every service by its own host name, on one listener."""

import json
import uuid

from aiohttp import web

import sigv4
from iam import Iam
from s3 import S3
from world import random_id, timestamp


class Account:
    def __init__(self, world, sts, sts_ca):
        self.world, self.sts = world, sts
        self.iam = Iam(world, sts_ca)
        self.s3 = S3(world, self.iam)
        self.person = self._add_person("platform-engineer")

    def _add_person(self, name):
        """Somebody with long-lived keys who may do everything."""
        account = self.world.account
        person = {"access_key_id": "AKIA" + random_id(16), "secret_access_key": random_id(40), "session_token": None,
                  "arn": f"arn:aws:iam::{account}:user/{name}", "user_id": "AIDA" + random_id(17), "account": account,
                  "role_arn": "", "sub": None, "aud": None, "pod": {}, "expires": float("inf")}
        self.world.users[person["access_key_id"]] = person
        return person

    def names(self):
        region = self.world.region
        return [f"sts.{region}.amazonaws.com", "iam.amazonaws.com", f"s3.{region}.amazonaws.com",
                f"*.s3.{region}.amazonaws.com", f"cloudtrail.{region}.amazonaws.com", f"eks.{region}.amazonaws.com"]

    async def handle(self, request):
        host = request.host.split(":")[0]
        region = f".{self.world.region}.amazonaws.com"
        if host == "sts" + region:
            return await self.sts.handle(request)
        if host == "iam.amazonaws.com":
            return await self.iam.handle(request)
        if ("." + host).endswith(".s3" + region):
            return await self.s3.handle(request)
        if host in ("cloudtrail" + region, "eks" + region):
            return await self._read_only(request, host.split(".")[0])
        return web.Response(status=421, text=f"{host} is not simulated")

    async def _read_only(self, request, service):
        """Services that only people ask."""
        body = await request.read()
        try:
            caller = sigv4.signer(self.world, request, body, service)
        except sigv4.NotSigned as problem:
            return _refusal(403, problem.code, problem.message)
        if caller["role_arn"]:
            return _refusal(403, "AccessDeniedException", f"User: {caller['arn']} is not authorized")
        return self._lookup_events(request, json.loads(body)) if service == "cloudtrail" else self._cluster(request)

    # EKS

    def _cluster(self, request):
        name = request.path.removeprefix("/clusters/")
        if request.method != "GET" or name not in self.world.eks_clusters:
            return _refusal(404, "ResourceNotFoundException", f"No cluster found for name: {name}.")
        return web.json_response({"cluster": {
            "name": name, "status": "ACTIVE", "arn": f"arn:aws:eks:{self.world.region}:{self.world.account}:cluster/{name}",
            "identity": {"oidc": {"issuer": self.world.eks_clusters[name]}}}})

    # CloudTrail

    def _lookup_events(self, request, wanted):
        if request.headers.get("X-Amz-Target", "").rpartition(".")[2] != "LookupEvents" or set(wanted) - {
                "LookupAttributes", "MaxResults"}:
            return _refusal(400, "UnsupportedOperationException", "Only LookupEvents is answered, by attributes")
        sought = [(a["AttributeKey"], a["AttributeValue"]) for a in wanted.get("LookupAttributes", [])]
        events = []
        for issued in sorted(self.world.issued.values(), key=lambda one: -one["issued"]):
            facts = {("EventName", issued["operation"]), ("EventSource", "sts.amazonaws.com"),
                     ("ResourceName", issued["role_arn"]), ("ResourceName", issued["access_key_id"])}
            if issued["operation"] == "AssumeRoleWithWebIdentity" and facts.issuperset(sought):
                event = self._event(issued)
                events.append({"EventId": event["eventID"], "EventName": event["eventName"], "ReadOnly": "true",
                               "EventTime": issued["issued"], "EventSource": event["eventSource"], "Resources": [],
                               "Username": event["userIdentity"]["userName"], "CloudTrailEvent": json.dumps(event)})
        return web.json_response({"Events": events[:wanted.get("MaxResults", 50)]},
                                 content_type="application/x-amz-json-1.1")

    def _event(self, issued):
        """The record of a call, as CloudTrail writes it of tokens from an OpenID Connect provider."""
        provider = self.world.provider_arn(issued["account"])
        audience = issued["aud"] if isinstance(issued["aud"], str) else issued["aud"][0]
        sent = issued["parameters"]
        return {
            "eventVersion": "1.08", "eventTime": timestamp(issued["issued"]), "eventSource": "sts.amazonaws.com",
            "eventName": "AssumeRoleWithWebIdentity", "awsRegion": self.world.region, "eventID": str(uuid.uuid4()),
            "eventType": "AwsApiCall", "recipientAccountId": issued["account"], "readOnly": True,
            "userIdentity": {"type": "WebIdentityUser", "principalId": f"{provider}:{audience}:{issued['sub']}",
                             "userName": issued["sub"], "identityProvider": provider},
            "requestParameters": {"roleArn": sent["RoleArn"], "roleSessionName": sent["RoleSessionName"],
                                  **({"durationSeconds": int(sent["DurationSeconds"])} if "DurationSeconds" in sent else {})},
            "responseElements": {
                "credentials": {"accessKeyId": issued["access_key_id"], "expiration": timestamp(issued["expires"])},
                "subjectFromWebIdentityToken": issued["sub"], "audience": audience, "provider": provider,
                "assumedRoleUser": {"assumedRoleId": issued["user_id"], "arn": issued["arn"]}}}


def _refusal(status, code, message):
    return web.json_response({"__type": code, "message": message}, status=status, headers={"x-amzn-ErrorType": code})
