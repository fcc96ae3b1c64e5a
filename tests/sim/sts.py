"""STS: AssumeRoleWithWebIdentity, AssumeRole and GetCallerIdentity, refusing what STS refuses."""

import calendar
import fnmatch
import json
import re
import secrets
import time
import urllib.parse
import uuid
from email.utils import formatdate
from xml.sax.saxutils import escape

import jwt
from aiohttp import web

import faults as fault_kinds
import sigv4
from provider import Provider, ProviderUnreachable
from world import random_id, timestamp

VERSION = "2011-06-15"
NAMESPACE = f"https://sts.amazonaws.com/doc/{VERSION}/"
TOKEN_ALGORITHMS = {"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"}
SESSION_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]*")
EXTERNAL_ID = re.compile(r"[A-Za-z0-9_+=,.@:/-]*")
ROLE_ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov|aws-eusc|aws-iso[a-z-]*):iam::[0-9]{12}:role/([!-~]+/)?[A-Za-z0-9_+=,.@-]{1,64}")
SERIAL_NUMBER = re.compile(r"[A-Za-z0-9_+=/:,.@-]*")
TOKEN_CODE = re.compile(r"[0-9]*")
TAG = re.compile(r"[\w \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000.:/=+@-]*")  # letters, digits, blanks, some marks
NO_KEY = ("Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity "
          "documentation for requirements")

# The parameters of each operation: (required, optional). Whatever else is sent is refused, so that nothing goes by
# unnoticed that the real service may take for something.
OPERATIONS = {
    "AssumeRoleWithWebIdentity": ({"RoleArn", "RoleSessionName", "WebIdentityToken"},
                                  {"DurationSeconds", "Policy", "PolicyArns", "ProviderId"}),
    "AssumeRole": ({"RoleArn", "RoleSessionName"},
                   {"DurationSeconds", "ExternalId", "Policy", "PolicyArns", "ProvidedContexts", "SerialNumber",
                    "SourceIdentity", "Tags", "TokenCode", "TransitiveTagKeys"}),
    "GetCallerIdentity": (set(), set()),
}
# Texts: how long, and of which form. Of a list, those of each member.
TEXTS = {
    "RoleArn": (20, 2048, None), "RoleSessionName": (2, 64, SESSION_NAME), "WebIdentityToken": (4, 20000, None),
    "ProviderId": (4, 2048, None), "Policy": (1, 2048, None), "ExternalId": (2, 1224, EXTERNAL_ID),
    "SourceIdentity": (2, 64, SESSION_NAME), "SerialNumber": (9, 256, SERIAL_NUMBER), "TokenCode": (6, 6, TOKEN_CODE),
}
# Lists: how many members, and the fields each must have ("": the member is a text itself).
LISTS = {
    "PolicyArns": (10, {"arn": (20, 2048, None)}),
    "Tags": (50, {"Key": (1, 128, TAG), "Value": (0, 256, TAG)}),
    "TransitiveTagKeys": (50, {"": (1, 128, TAG)}),
    "ProvidedContexts": (5, {"ProviderArn": (20, 2048, None), "ContextAssertion": (4, 2048, None)}),
}
MEMBER = re.compile(r"([A-Za-z]+)\.member\.([1-9][0-9]{0,3})(?:\.([A-Za-z]+))?")


class Refused(Exception):
    def __init__(self, code, message, status=None):
        super().__init__(message)
        self.code, self.message = code, message
        self.status = status or fault_kinds.STS_STATUS[code]


class Sts:
    def __init__(self, world, faults, log):
        self.world, self.faults, self.log = world, faults, log
        self.provider = Provider(world)

    async def handle(self, request):
        """One HTTP request."""
        call = {"operation": "", "role": "", "result": "", "authorization": bool(request.headers.get("Authorization"))}
        started = self.log.begin("sts")
        try:
            return await self._answer(request, call)
        except fault_kinds.Dropped:
            call["result"] = "dropped"
            raise
        finally:
            self.log.end("sts", started, call)

    async def _answer(self, request, call):
        body = await request.read()
        try:
            parameters = self._parameters(request, body, call)
            problem = None
        except Refused as refusal:
            parameters, problem = {}, refusal

        async def genuine():
            await self.log.latency(self.world.sts_latency_ms)
            try:
                if problem:
                    raise problem
                await self._learn_key(parameters)
                result = self._dispatch(request, body, parameters, call)
                call["result"] = "ok"
                return self._render(request, parameters["Action"], result)
            except Refused as refusal:
                call["result"] = refusal.code
                return self._error(request, refusal.code, refusal.message, refusal.status)

        def error(code, message, status, headers):
            call["result"] = code
            return self._error(request, code, message, status or fault_kinds.STS_STATUS.get(code, 400), headers)

        facts = {"path": request.path, "operation": call["operation"], "role": call["role"], "method": request.method}
        call["faults"] = facts
        return await fault_kinds.inject(self.faults, "sts", request, facts, genuine, error)

    # What comes in

    def _parameters(self, request, body, call):
        if request.method != "POST":
            raise Refused("InvalidAction", "Only POST is answered here")
        if request.path != "/":
            raise Refused("InvalidAction", f"Unknown path {request.path}", 404)
        content_type = request.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if content_type != "application/x-www-form-urlencoded":
            raise Refused("MissingAction", "Content-Type must be application/x-www-form-urlencoded")
        try:
            pairs = urllib.parse.parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True,
                                           errors="strict")
        except ValueError:
            raise Refused("ValidationError", "The request body is not a well-formed form") from None
        parameters = dict(pairs)
        call["operation"], call["role"] = parameters.get("Action", ""), parameters.get("RoleArn", "")
        call["parameters"] = {k: v for k, v in parameters.items() if k != "WebIdentityToken"}
        if len(pairs) != len(parameters):
            raise Refused("ValidationError", "A parameter is given more than once")
        if "Action" not in parameters:
            raise Refused("MissingAction", "The request must contain the parameter Action")
        if parameters.get("Version") != VERSION or parameters["Action"] not in OPERATIONS:
            raise Refused("InvalidAction", f"Could not find operation {parameters['Action']} for version "
                                           f"{parameters.get('Version', 'NO_VERSION_SPECIFIED')}")
        return parameters

    def _dispatch(self, request, body, parameters, call):
        return getattr(self, "_" + parameters["Action"])(request, body, parameters, call)

    @staticmethod
    def _validate(parameters):
        """Refuses what goes beyond the operation's parameters and their limits. Returns the duration."""
        action = parameters["Action"]
        required, optional = OPERATIONS[action]
        errors = []

        def check(value, at, least, most, pattern):
            shown = f"Value '{value}' at '{at}' failed to satisfy constraint: Member must"
            if len(value) < least:
                errors.append(f"{shown} have length greater than or equal to {least}")
            if len(value) > most:
                errors.append(f"{shown} have length less than or equal to {most}")
            if pattern is not None and not pattern.fullmatch(value):
                errors.append(f"{shown} satisfy regular expression pattern: {pattern.pattern}")

        def missing(at):
            errors.append(f"Value null at '{at}' failed to satisfy constraint: Member must not be null")

        members = {}  # (list, number): its fields
        for name, value in parameters.items():
            member = MEMBER.fullmatch(name)
            if member and member[1] in required | optional and (member[3] or "") in LISTS.get(member[1], (0, {}))[1]:
                members.setdefault((member[1], int(member[2])), {})[member[3] or ""] = value
            elif name in TEXTS and name in required | optional:
                check(value, camel(name), *TEXTS[name])
            elif name not in ("Action", "Version") and not (name == "DurationSeconds" and name in optional):
                raise Refused("ValidationError", f"{action} has no parameter {name}")
        for name in sorted(required - set(parameters)):
            missing(camel(name))
        for (name, number), given in members.items():
            most, fields = LISTS[name]
            for field, limits in fields.items():
                at = f"{camel(name)}.{number}.member" + (f".{camel(field)}" if field else "")
                if field in given:
                    check(given[field], at, *limits)
                else:
                    missing(at)
            if number > most:
                errors.append(f"Value at '{camel(name)}' failed to satisfy constraint: Member must have length less "
                              f"than or equal to {most}")
        duration = parameters.get("DurationSeconds", "3600")
        if not re.fullmatch(r"[0-9]{1,9}", duration):
            raise Refused("ValidationError", f"'{duration}' is not a valid integer at 'durationSeconds'")
        for bad, rule in ((int(duration) < 900, "greater than or equal to 900"),
                          (int(duration) > 43200, "less than or equal to 43200")):
            if bad:
                errors.append(f"Value '{duration}' at 'durationSeconds' failed to satisfy constraint: "
                              f"Member must have value {rule}")
        if errors:
            count = f"{len(errors)} validation error{'s' if len(errors) > 1 else ''} detected"
            raise Refused("ValidationError", f"{count}: {'; '.join(errors)}")
        if "RoleArn" in parameters and not ROLE_ARN.fullmatch(parameters["RoleArn"]):
            raise Refused("ValidationError", f"{parameters['RoleArn']} is invalid")
        if "Policy" in parameters:
            check_session_policy(parameters["Policy"])
        return int(duration)

    # Operations

    def _AssumeRoleWithWebIdentity(self, request, body, parameters, call):
        duration = self._validate(parameters)
        if "ProviderId" in parameters:
            raise Refused("ValidationError", "ProviderId is not for OpenID Connect tokens")
        claims = self._verified_claims(parameters["WebIdentityToken"])
        call["sub"] = claims["sub"]
        arn = parameters["RoleArn"]
        role = self.world.roles.get(arn)
        provider = self.world.issuer.split("://", 1)[1]
        context = {f"{provider}:{name}": claims[name] for name in ("sub", "aud")}
        principal = {"Federated": self.world.provider_arn(arn.split(":")[4])}
        if role is None or not allowed(role["trust"], "sts:AssumeRoleWithWebIdentity", principal, context):
            raise Refused("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        if duration > role["max_session_duration"]:
            raise Refused("ValidationError",
                          "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
        issued = self._issue(role, parameters, duration, call, sub=claims["sub"], aud=claims["aud"], parent=None,
                             pod=claims.get("kubernetes.io", {}).get("pod", {}), jti=claims.get("jti"))
        audience = claims["aud"] if isinstance(claims["aud"], str) else claims["aud"][0]
        return {"SubjectFromWebIdentityToken": claims["sub"], "Audience": audience,
                "AssumedRoleUser": self._user(issued), "Provider": principal["Federated"],
                "Credentials": self._credentials(issued, call)}

    def _AssumeRole(self, request, body, parameters, call):
        caller = self._signer(request, body)
        duration = self._validate(parameters)
        role = self.world.roles.get(parameters["RoleArn"])
        context = {"sts:ExternalId": parameters["ExternalId"]} if "ExternalId" in parameters else {}
        principal = {"AWS": [caller["role_arn"], caller["arn"], caller["account"],
                             f"arn:aws:iam::{caller['account']}:root"]}
        if role is None or not allowed(role["trust"], "sts:AssumeRole", principal, context):
            raise Refused("AccessDenied", f"User: {caller['arn']} is not authorized to perform: sts:AssumeRole on "
                                          f"resource: {parameters['RoleArn']}")
        if duration > 3600:
            raise Refused("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for "
                                             "roles assumed by role chaining.")
        call["sub"] = caller["sub"]
        issued = self._issue(role, parameters, duration, call, sub=caller["sub"], aud=caller["aud"],
                             parent=caller["access_key_id"], pod=caller["pod"], jti=None)
        return {"AssumedRoleUser": self._user(issued), "Credentials": self._credentials(issued, call)}

    def _GetCallerIdentity(self, request, body, parameters, call):
        caller = self._signer(request, body)
        self._validate(parameters)
        call.update(role=caller["role_arn"], access_key_id=caller["access_key_id"])
        return {"Arn": caller["arn"], "UserId": caller["user_id"], "Account": caller["account"]}

    # Tokens

    async def _learn_key(self, parameters):
        """Where the issuer is not simulated: asks it for a key it may have begun to use since."""
        if not self.world.provider or "WebIdentityToken" not in parameters:
            return
        try:
            kid = jwt.get_unverified_header(parameters["WebIdentityToken"]).get("kid")
        except jwt.PyJWTError:
            return  # refused for that later
        try:
            await self.provider.learn(kid)
        except ProviderUnreachable:
            raise Refused("InvalidIdentityToken", NO_KEY) from None

    def _verified_claims(self, token):
        world = self.world
        malformed = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
        try:
            header = jwt.get_unverified_header(token)
            unverified = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            raise Refused("InvalidIdentityToken", malformed) from None
        if header.get("alg") not in TOKEN_ALGORITHMS or "crit" in header:
            raise Refused("InvalidIdentityToken", malformed)
        if unverified.get("iss") != world.issuer or not world.registered:
            raise Refused("InvalidIdentityToken", "No OpenIDConnect provider found in your account for "
                                                  f"{unverified.get('iss')}")
        for name in ("exp", "iat"):
            if not isinstance(unverified.get(name), int) or isinstance(unverified.get(name), bool):
                raise Refused("InvalidIdentityToken", f"Missing a required claim: {name}")
        if not isinstance(unverified.get("sub"), str) or not unverified.get("aud"):
            raise Refused("InvalidIdentityToken", "Missing a required claim: sub or aud")
        now = int(world.now())
        if unverified["exp"] <= now:
            raise Refused("ExpiredTokenException", f"Token expired: current date/time {now} must be before the "
                                                   f"expiration date/time {unverified['exp']}")
        key = (self.provider.find(header.get("kid")) if world.provider
               else next((k for k in world.published if k.kid == header.get("kid")), None))
        if key is None:
            raise Refused("InvalidIdentityToken", NO_KEY)
        try:
            return world.decode(token, key, world.client_ids)
        except jwt.InvalidAudienceError:
            raise Refused("InvalidIdentityToken", "Incorrect token audience") from None
        except jwt.ImmatureSignatureError:
            raise Refused("InvalidIdentityToken", "The ID Token is not yet valid") from None
        except jwt.PyJWTError:
            raise Refused("InvalidIdentityToken", malformed) from None

    # Signatures

    def _signer(self, request, body):
        try:
            return sigv4.signer(self.world, request, body)
        except sigv4.NotSigned as problem:
            raise Refused(problem.code, problem.message) from None

    # What goes out

    def _issue(self, role, parameters, duration, call, **who):
        session = parameters["RoleSessionName"]
        account = role["arn"].split(":")[4]
        now = self.world.now()
        offset = next((f.arguments["offset"] for f in self.faults.hitting("sts", call["faults"], {"expiry"})), duration)
        issued = {
            "access_key_id": "ASIA" + random_id(16),
            "secret_access_key": secrets.token_urlsafe(30),
            "session_token": "Fwo" + secrets.token_urlsafe(500) + "/+=",
            "role_arn": role["arn"], "role_name": role["name"], "session_name": session, "account": account,
            "arn": f"arn:aws:sts::{account}:assumed-role/{role['name']}/{session}",
            "user_id": f"{self.world.role_ids[role['arn']]}:{session}",
            "operation": parameters["Action"], "duration": duration, "parameters": call["parameters"],
            "issued": now, "expires": now + offset, **who}
        self.world.issued[issued["access_key_id"]] = issued
        return issued

    @staticmethod
    def _user(issued):
        return {"AssumedRoleId": issued["user_id"], "Arn": issued["arn"]}

    def _credentials(self, issued, call):
        fields = {"AccessKeyId": issued["access_key_id"], "SecretAccessKey": issued["secret_access_key"],
                  "SessionToken": issued["session_token"], "Expiration": timestamp(issued["expires"])}
        for fault in self.faults.hitting("sts", call["faults"], {"incomplete"}):
            if fault.arguments.get("empty"):
                fields[fault.arguments["field"]] = ""
            else:
                del fields[fault.arguments["field"]]
        return fields

    def _headers(self, request_id):
        return {"x-amzn-requestid": request_id, "Date": formatdate(self.world.now(), usegmt=True)}

    def _render(self, request, action, result):
        request_id = str(uuid.uuid4())
        headers = self._headers(request_id)
        if wants_json(request):
            if "Credentials" in result:
                stamp = time.strptime(result["Credentials"]["Expiration"], "%Y-%m-%dT%H:%M:%SZ")
                result["Credentials"]["Expiration"] = float(calendar.timegm(stamp))
            body = {f"{action}Response": {f"{action}Result": result, "ResponseMetadata": {"RequestId": request_id}}}
            return web.Response(body=json.dumps(body).encode(), headers={**headers, "Content-Type": "application/json"})
        text = (f'<{action}Response xmlns="{NAMESPACE}">\n  <{action}Result>\n{_xml(result, 4)}  </{action}Result>\n'
                f"  <ResponseMetadata>\n    <RequestId>{request_id}</RequestId>\n  </ResponseMetadata>\n"
                f"</{action}Response>\n")
        return web.Response(body=text.encode(), headers={**headers, "Content-Type": "text/xml"})

    def _error(self, request, code, message, status, extra=None):
        request_id = str(uuid.uuid4())
        headers = {**self._headers(request_id), **(extra or {})}
        kind = "Sender" if status < 500 else "Receiver"
        if wants_json(request):
            body = {"Error": {"Code": code, "Message": message, "Type": kind}, "RequestId": request_id}
            return web.Response(status=status, body=json.dumps(body).encode(),
                                headers={**headers, "Content-Type": "application/json"})
        text = (f'<ErrorResponse xmlns="{NAMESPACE}">\n  <Error>\n    <Type>{kind}</Type>\n    <Code>{code}</Code>\n'
                f"    <Message>{escape(message)}</Message>\n  </Error>\n  <RequestId>{request_id}</RequestId>\n"
                f"</ErrorResponse>\n")
        return web.Response(status=status, body=text.encode(), headers={**headers, "Content-Type": "text/xml"})


def camel(name):
    """As STS's messages spell a parameter."""
    return name[0].lower() + name[1:]


def check_session_policy(text):
    """Its form alone: what it would take away is not modelled."""
    try:
        policy = json.loads(text)
    except ValueError:
        policy = None
    if not isinstance(policy, dict) or "Statement" not in policy:
        raise Refused("MalformedPolicyDocument", "The policy is not in the valid JSON format.")


def wants_json(request):
    return request.headers.get("Accept", "").split(",")[0].split(";")[0].strip() == "application/json"


def _xml(fields, indent):
    lines = []
    for name, value in fields.items():
        pad = " " * indent
        if isinstance(value, dict):
            lines.append(f"{pad}<{name}>\n{_xml(value, indent + 2)}{pad}</{name}>\n")
        else:
            lines.append(f"{pad}<{name}>{escape(str(value))}</{name}>\n")
    return "".join(lines)


# Trust policies: the part of IAM's language that roles for service accounts use. What is not understood is refused
# when the role is made.

_TESTS = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringEqualsIgnoreCase": lambda value, wanted: value.lower() == wanted.lower(),
    "StringLike": lambda value, wanted: fnmatch.fnmatchcase(value, wanted.replace("[", "[[]")),
}


def _list(value):
    return value if isinstance(value, list) else [value]


def _operator(name):
    """(test, negated, if_exists) of a condition operator."""
    if_exists = name.endswith("IfExists")
    name = name[:-len("IfExists")] if if_exists else name
    name = name.removeprefix("ForAnyValue:")
    negated = name.startswith("StringNot")
    test = _TESTS.get(name.replace("StringNot", "String", 1))
    if test is None:
        raise ValueError(f"condition operator {name} is not understood")
    return test, negated, if_exists


def check_trust(policy):
    """Raises ValueError for a policy that cannot be evaluated."""
    for statement in _list(policy["Statement"]):
        if statement.get("Effect") not in ("Allow", "Deny") or "Action" not in statement:
            raise ValueError("a statement needs Effect (Allow or Deny) and Action")
        if not isinstance(statement.get("Principal"), (dict, str)) or set(statement) - {
                "Sid", "Effect", "Action", "Principal", "Condition"}:
            raise ValueError("a statement needs Principal, and has only Sid and Condition besides")
        for operator in statement.get("Condition", {}):
            _operator(operator)


def allowed(policy, action, principal, context):
    """Whether a trust policy lets a principal ({"AWS": [...]} or {"Federated": arn}) do it."""
    verdict = False
    for statement in _list(policy["Statement"]):
        if not any(fnmatch.fnmatchcase(action.lower(), a.lower()) for a in _list(statement["Action"])):
            continue
        if not _principal_matches(statement["Principal"], principal):
            continue
        if not _conditions_hold(statement.get("Condition", {}), context):
            continue
        if statement["Effect"] == "Deny":
            return False
        verdict = True
    return verdict


def _principal_matches(wanted, principal):
    if wanted == "*":
        return True
    for kind, names in principal.items():
        if any(name in _list(wanted.get(kind, [])) or "*" in _list(wanted.get(kind, [])) for name in _list(names)):
            return True
    return False


def _conditions_hold(conditions, context):
    folded = {key.lower(): value for key, value in context.items()}
    for operator, tests in conditions.items():
        test, negated, if_exists = _operator(operator)
        for key, wanted in tests.items():
            value = folded.get(key.lower())
            if value is None:
                if if_exists or negated:
                    continue
                return False
            matched = any(test(v, w) for v in _list(value) for w in _list(wanted))
            if matched == negated:
                return False
    return True
