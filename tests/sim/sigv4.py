"""Signature Version 4: who signed a request, recomputed with botocore from the bytes received."""

import calendar
import hashlib
import hmac
import re
import time

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from world import timestamp

CLOCK_SKEW = 15 * 60
UNSIGNED_PAYLOADS = ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")  # which S3 alone takes, over TLS


class NotSigned(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


def signer(world, request, body, service="sts", region=None):
    """The credentials that signed it: those that STS issued, or a user's own."""
    header = request.headers.get("Authorization", "")
    if not header:
        raise NotSigned("MissingAuthenticationToken", "Request is missing Authentication Token")
    match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,\s*"
                         r"SignedHeaders=([a-z0-9;-]+),\s*Signature=([0-9a-f]{64})", header)
    if match is None:
        raise NotSigned("IncompleteSignature", "Authorization header is not a well-formed Signature Version 4 one")
    key_id, day, signed_region, signed_service, signed, signature = match.groups()
    names = signed.split(";")
    date = request.headers.get("X-Amz-Date", "")
    try:
        at = time.strptime(date, "%Y%m%dT%H%M%SZ")
    except ValueError:
        raise NotSigned("IncompleteSignature", "X-Amz-Date is missing or malformed") from None
    if names != sorted(set(names)) or not {"host", "x-amz-date"} <= set(names):
        raise NotSigned("IncompleteSignature", "SignedHeaders must be sorted and hold host and x-amz-date")
    if any(name.startswith("x-amz-") and name not in names for name in map(str.lower, request.headers)):
        raise NotSigned("SignatureDoesNotMatch", "Every x-amz- header must be signed")
    now = world.now()
    if abs(calendar.timegm(at) - now) > CLOCK_SKEW:
        raise NotSigned("SignatureDoesNotMatch", f"Signature not yet current or expired: {date} is not within 15 "
                                                 f"minutes of {timestamp(now)}")
    if (day, signed_region, signed_service) != (date[:8], region or world.region, service):
        raise NotSigned("SignatureDoesNotMatch", f"Credential should be scoped to a valid region and service, not "
                                                 f"'{day}/{signed_region}/{signed_service}'")
    caller = world.issued.get(key_id) or world.users.get(key_id)
    if caller is None or request.headers.get("X-Amz-Security-Token") != caller["session_token"]:
        raise NotSigned("InvalidClientTokenId", "The security token included in the request is invalid.")
    content_hash = request.headers.get("X-Amz-Content-SHA256")
    left_out = UNSIGNED_PAYLOADS if service == "s3" else ()
    if content_hash not in (None, hashlib.sha256(body).hexdigest(), *left_out):
        raise NotSigned("SignatureDoesNotMatch", "X-Amz-Content-SHA256 does not match the body")
    recomputed = AWSRequest(method=request.method, url=f"https://{request.headers['Host']}{request.raw_path}", data=body)
    for name in names:
        for value in request.headers.getall(name, []):
            recomputed.headers.add_header(name, value)
    recomputed.context["timestamp"] = date
    scheme = S3SigV4Auth if service == "s3" else SigV4Auth
    auth = scheme(Credentials(key_id, caller["secret_access_key"], caller["session_token"]), service, signed_region)
    auth.headers_to_sign = lambda r: r.headers  # those the caller signed, whatever botocore itself would leave out
    expected = auth.signature(auth.string_to_sign(recomputed, auth.canonical_request(recomputed)), recomputed)
    if not hmac.compare_digest(expected, signature):
        raise NotSigned("SignatureDoesNotMatch", "The request signature we calculated does not match the signature "
                                                 "you provided. Check your AWS Secret Access Key and signing method.")
    if caller["expires"] <= now:
        raise NotSigned("ExpiredToken", "The security token included in the request is expired")
    return caller
