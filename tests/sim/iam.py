"""IAM: roles and their trust, policies, and the OpenID Connect provider of the cluster's issuer. What is created here is
what STS enforces (trust policies, the provider's audiences) and what S3 does (the policies attached to a role)."""

import fnmatch
import json
import re
import urllib.parse
import uuid
from xml.sax.saxutils import escape

from aiohttp import web

import sigv4
from sts import check_trust
from world import random_id, timestamp

VERSION = "2010-05-08"
NAMESPACE = f"https://iam.amazonaws.com/doc/{VERSION}/"
ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}")
POLICY_NAME = re.compile(r"[\w+=,.@-]{1,128}")
THUMBPRINT = re.compile(r"[0-9A-Fa-f]{40}")
STATUS = {"NoSuchEntity": 404, "EntityAlreadyExists": 409, "DeleteConflict": 409, "AccessDenied": 403,
          "InvalidClientTokenId": 403, "SignatureDoesNotMatch": 403, "ExpiredToken": 403,
          "MissingAuthenticationToken": 403}  # all others: 400

# The parameters of each operation: (required, optional); lists by their name alone.
OPERATIONS = {
    "CreateRole": ({"RoleName", "AssumeRolePolicyDocument"}, {"Description", "MaxSessionDuration"}),
    "GetRole": ({"RoleName"}, set()),
    "DeleteRole": ({"RoleName"}, set()),
    "CreatePolicy": ({"PolicyName", "PolicyDocument"}, {"Description"}),
    "DeletePolicy": ({"PolicyArn"}, set()),
    "AttachRolePolicy": ({"RoleName", "PolicyArn"}, set()),
    "DetachRolePolicy": ({"RoleName", "PolicyArn"}, set()),
    "ListAttachedRolePolicies": ({"RoleName"}, set()),
    "CreateOpenIDConnectProvider": ({"Url"}, {"ClientIDList", "ThumbprintList"}),
    "GetOpenIDConnectProvider": ({"OpenIDConnectProviderArn"}, set()),
    "ListOpenIDConnectProviders": (set(), set()),
    "DeleteOpenIDConnectProvider": ({"OpenIDConnectProviderArn"}, set()),
}


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


class Iam:
    def __init__(self, world, sts_ca):
        self.world, self.sts_ca = world, sts_ca
        self.policies = {}  # by ARN
        self.attached = {}  # role's ARN: policies' ARNs
        self.thumbprints = []

    async def handle(self, request):
        body = await request.read()
        try:
            caller = self._caller(request, body)
            action, parameters = self._parameters(body)
            if caller["role_arn"]:
                raise Refused("AccessDenied", f"User: {caller['arn']} is not authorized to perform: iam:{action}")
            return self._render(action, getattr(self, "_" + action)(parameters))
        except Refused as refusal:
            return self._error(refusal)

    def _caller(self, request, body):
        try:
            return sigv4.signer(self.world, request, body, "iam", "us-east-1")  # IAM is global, and lives there
        except sigv4.NotSigned as problem:
            raise Refused(problem.code, problem.message) from None

    @staticmethod
    def _parameters(body):
        fields = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        action, version = fields.pop("Action", ""), fields.pop("Version", "")
        if version != VERSION or action not in OPERATIONS:
            raise Refused("InvalidAction", f"Could not find operation {action} for version {version}")
        parameters = {}
        for name, value in fields.items():
            listed = re.fullmatch(r"(\w+)\.member\.(\d+)", name)
            if listed:
                parameters.setdefault(listed[1], []).append(value)
            elif value or name not in ("ClientIDList", "ThumbprintList"):  # empty: a list with nothing in it
                parameters[name] = value
        required, optional = OPERATIONS[action]
        if not required <= set(parameters) or set(parameters) - required - optional:
            raise Refused("ValidationError", f"{action} takes {sorted(required)} and maybe {sorted(optional)}, not "
                                             f"{sorted(parameters)}")
        return action, parameters

    # What S3 asks

    def permits(self, caller, action, resource):
        """Whether the caller's own policies let it do that. A person may do everything."""
        if not caller["role_arn"]:
            return True
        documents = [self.policies[arn]["document"] for arn in self.attached.get(caller["role_arn"], [])]
        return policies_permit(documents, action, resource)

    # Roles

    def _role(self, parameters):
        role = self.world.roles.get(self._arn("role", parameters["RoleName"]))
        if role is None:
            raise Refused("NoSuchEntity", f"The role with name {parameters['RoleName']} cannot be found.")
        return role

    def _arn(self, kind, name):
        return f"arn:aws:iam::{self.world.account}:{kind}/{name}"

    def _CreateRole(self, parameters):
        name = parameters["RoleName"]
        if not ROLE_NAME.fullmatch(name):
            raise Refused("ValidationError", "The specified value for roleName is invalid.")
        trust = parse_policy(parameters["AssumeRolePolicyDocument"])
        try:
            check_trust(trust)
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise Refused("MalformedPolicyDocument", str(problem)) from None
        if self._arn("role", name) in self.world.roles:
            raise Refused("EntityAlreadyExists", f"Role with name {name} already exists.")
        role = self.world.put_role(name, trust=trust,
                                   max_session_duration=int(parameters.get("MaxSessionDuration", 3600)))
        role["created"] = timestamp(self.world.now())
        return {"Role": self._show_role(role)}

    def _show_role(self, role):
        return {"Path": "/", "RoleName": role["name"], "RoleId": self.world.role_ids[role["arn"]], "Arn": role["arn"],
                "CreateDate": role["created"], "MaxSessionDuration": role["max_session_duration"],
                "AssumeRolePolicyDocument": urllib.parse.quote(json.dumps(role["trust"]), safe="")}

    def _GetRole(self, parameters):
        return {"Role": self._show_role(self._role(parameters))}

    def _DeleteRole(self, parameters):
        role = self._role(parameters)
        if self.attached.get(role["arn"]):
            raise Refused("DeleteConflict", "Cannot delete entity, must detach all policies first.")
        del self.world.roles[role["arn"]]

    # Policies

    def _CreatePolicy(self, parameters):
        name, document = parameters["PolicyName"], parse_policy(parameters["PolicyDocument"])
        if not POLICY_NAME.fullmatch(name):
            raise Refused("ValidationError", "The specified value for policyName is invalid.")
        check_permissions(document)
        arn = self._arn("policy", name)
        if arn in self.policies:
            raise Refused("EntityAlreadyExists", f"A policy called {name} already exists.")
        self.policies[arn] = {"name": name, "id": "ANPA" + random_id(17), "document": document,
                              "created": timestamp(self.world.now())}
        return {"Policy": {"PolicyName": name, "PolicyId": self.policies[arn]["id"], "Arn": arn, "Path": "/",
                           "DefaultVersionId": "v1", "AttachmentCount": 0, "IsAttachable": "true",
                           "CreateDate": self.policies[arn]["created"]}}

    def _policy(self, parameters):
        if parameters["PolicyArn"] not in self.policies:
            raise Refused("NoSuchEntity", f"Policy {parameters['PolicyArn']} does not exist or is not attachable.")
        return parameters["PolicyArn"]

    def _DeletePolicy(self, parameters):
        arn = self._policy(parameters)
        if any(arn in attached for attached in self.attached.values()):
            raise Refused("DeleteConflict", "Cannot delete a policy attached to entities.")
        del self.policies[arn]

    def _AttachRolePolicy(self, parameters):
        role, arn = self._role(parameters), self._policy(parameters)
        attached = self.attached.setdefault(role["arn"], [])
        if arn not in attached:
            attached.append(arn)

    def _DetachRolePolicy(self, parameters):
        role, arn = self._role(parameters), self._policy(parameters)
        if arn not in self.attached.get(role["arn"], []):
            raise Refused("NoSuchEntity", f"Policy {arn} was not found.")
        self.attached[role["arn"]].remove(arn)

    def _ListAttachedRolePolicies(self, parameters):
        attached = self.attached.get(self._role(parameters)["arn"], [])
        return {"AttachedPolicies": [{"PolicyName": self.policies[arn]["name"], "PolicyArn": arn} for arn in attached],
                "IsTruncated": "false"}

    # The issuer's provider: the account has one, or none

    def _CreateOpenIDConnectProvider(self, parameters):
        url = parameters["Url"].rstrip("/")
        if not url.startswith("https://") or "?" in url:
            raise Refused("InvalidInput", "The URL must begin with https:// and have no query.")
        for print_ in parameters.get("ThumbprintList", []):
            if not THUMBPRINT.fullmatch(print_):
                raise Refused("InvalidInput", "Thumbprint must be the hexadecimal SHA-1 of a certificate.")
        if self.world.registered:
            raise Refused("EntityAlreadyExists", f"Provider with url {self.world.issuer} already exists.")
        self.world.configure({
            "registered": True, "issuer": url, "client_ids": parameters.get("ClientIDList", []),
            "provider": self.world.provider or {"url": url, "ca_file": self.sts_ca}})
        self.thumbprints = parameters.get("ThumbprintList", [])
        return {"OpenIDConnectProviderArn": self.world.provider_arn()}

    def _provider(self, parameters):
        arn = parameters["OpenIDConnectProviderArn"]
        if not self.world.registered or arn != self.world.provider_arn():
            raise Refused("NoSuchEntity", f"OpenIDConnect Provider not found for arn {arn}")

    def _GetOpenIDConnectProvider(self, parameters):
        self._provider(parameters)
        return {"Url": self.world.issuer.split("://", 1)[1], "ClientIDList": self.world.client_ids,
                "ThumbprintList": self.thumbprints, "CreateDate": timestamp(self.world.now())}

    def _ListOpenIDConnectProviders(self, _):
        known = [{"Arn": self.world.provider_arn()}] if self.world.registered else []
        return {"OpenIDConnectProviderList": known}

    def _DeleteOpenIDConnectProvider(self, parameters):
        self._provider(parameters)
        self.world.configure({"registered": False, "provider": None})

    # What goes out

    @staticmethod
    def _render(action, result):
        inner = "" if result is None else f"<{action}Result>{_xml(result)}</{action}Result>"
        return web.Response(content_type="text/xml", body=(
            f'<{action}Response xmlns="{NAMESPACE}">{inner}<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId>'
            f"</ResponseMetadata></{action}Response>").encode())

    @staticmethod
    def _error(refusal):
        return web.Response(status=STATUS.get(refusal.code, 400), content_type="text/xml", body=(
            f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>{refusal.code}</Code>'
            f"<Message>{escape(refusal.message)}</Message></Error><RequestId>{uuid.uuid4()}</RequestId>"
            f"</ErrorResponse>").encode())


def _xml(value):
    if isinstance(value, dict):
        return "".join(f"<{name}>{_xml(inner)}</{name}>" for name, inner in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{_xml(inner)}</member>" for inner in value)
    return escape(str(value))


# Policies that say what may be done: the part of the language that the walkthrough's need. What is not understood is
# refused.


def _list(value):
    return value if isinstance(value, list) else [value]


def parse_policy(text):
    try:
        policy = json.loads(text)
    except ValueError:
        policy = None
    if not isinstance(policy, dict) or policy.get("Version") != "2012-10-17" or "Statement" not in policy:
        raise Refused("MalformedPolicyDocument", "The policy is not in the valid JSON format.")
    return policy


def check_permissions(policy, principal=False):
    needed = {"Effect", "Action", "Resource"} | ({"Principal"} if principal else set())
    for statement in _list(policy["Statement"]):
        if not isinstance(statement, dict) or set(statement) - {"Sid"} != needed or statement["Effect"] not in (
                "Allow", "Deny"):
            raise Refused("MalformedPolicyDocument", f"A statement has {', '.join(sorted(needed))}, and maybe Sid")
        if not all(re.fullmatch(r"\*|[a-z0-9-]+:[A-Za-z*]+", action) for action in _list(statement["Action"])):
            raise Refused("MalformedPolicyDocument", "Actions must be prefixed by a vendor: s3:GetObject")
        if not all(re.fullmatch(r"\*|arn:[^:]+:[^:]*:[^:]*:[^:]*:.+", r) for r in _list(statement["Resource"])):
            raise Refused("MalformedPolicyDocument", "Resource must be in ARN format or \"*\".")


def policies_permit(documents, action, resource, principal=None):
    """A Deny anywhere wins. principal: for policies of buckets, which name whom they are for."""
    verdict = False
    for statement in (s for document in documents for s in _list(document["Statement"])):
        if principal is not None and statement["Principal"] not in ("*", {"AWS": "*"}, {"AWS": principal}):
            continue
        if not any(fnmatch.fnmatchcase(action.lower(), a.lower()) for a in _list(statement["Action"])):
            continue
        if not any(fnmatch.fnmatchcase(resource, r) for r in _list(statement["Resource"])):
            continue
        if statement["Effect"] == "Deny":
            return False
        verdict = True
    return verdict
