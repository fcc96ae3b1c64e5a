"""S3: a few buckets of one region, called by their host names. Whoever signs is checked as by STS, and then against the
policies of the role and of the bucket; what S3 refuses is refused."""

import base64
import hashlib
import re
import urllib.parse
import uuid
import zlib
from email.utils import formatdate
from xml.sax.saxutils import escape

from aiohttp import web

import sigv4
from iam import Refused, check_permissions, parse_policy, policies_permit
from world import timestamp

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
STATUS = {"AccessDenied": 403, "InvalidAccessKeyId": 403, "SignatureDoesNotMatch": 403, "ExpiredToken": 400,
          "InvalidToken": 400, "NoSuchBucket": 404, "NoSuchKey": 404, "BucketNotEmpty": 409,
          "BucketAlreadyOwnedByYou": 409, "NotImplemented": 501, "MethodNotAllowed": 405}  # all others: 400
AS_S3_SAYS = {"InvalidClientTokenId": "InvalidAccessKeyId", "MissingAuthenticationToken": "AccessDenied",
              "IncompleteSignature": "AuthorizationHeaderMalformed"}


class Bucket:
    def __init__(self, created):
        self.created = created
        self.objects = {}  # key: (data, content type, ETag, time)
        self.policy = None
        self.public_allowed = False  # a new bucket blocks public access


class S3:
    def __init__(self, world, iam):
        self.world, self.iam = world, iam
        self.buckets = {}

    async def handle(self, request):
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await request.read()
        try:
            answer = self._answer(request, body)
        except Refused as refusal:
            answer = web.Response(status=STATUS.get(refusal.code, 400), content_type="application/xml", body=(
                '<?xml version="1.0" encoding="UTF-8"?>\n'
                f"<Error><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
                f"<RequestId>{uuid.uuid4()}</RequestId></Error>").encode())
        answer.headers["x-amz-request-id"] = str(uuid.uuid4())
        if request.method == "HEAD":
            answer.headers["Content-Length"] = str(len(answer.body or b""))
            answer.body = None
        return answer

    def _answer(self, request, body):
        caller = self._caller(request, body)
        name = request.host.split(":")[0].removesuffix(f"s3.{self.world.region}.amazonaws.com").rstrip(".")
        raw_path, _, query = request.raw_path.partition("?")
        key = urllib.parse.unquote(raw_path.removeprefix("/"))
        query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        query.pop("x-id", None)  # SDKs' own mark of the operation
        if not name:
            return self._list_buckets(caller, request, key, query)
        if not key:
            return self._on_bucket(caller, request, body, name, query)
        return self._on_object(caller, request, body, name, key, query)

    def _caller(self, request, body):
        if "Authorization" not in request.headers:
            return None  # anybody
        try:
            return sigv4.signer(self.world, request, body, "s3")
        except sigv4.NotSigned as problem:
            raise Refused(AS_S3_SAYS.get(problem.code, problem.code), problem.message) from None

    def _allow(self, caller, action, name, key=None):
        """The bucket, for somebody who may do that."""
        resource = f"arn:aws:s3:::{name}" + (f"/{key}" if key is not None else "")
        bucket = self.buckets.get(name)
        mine = caller is not None and self.iam.permits(caller, action, resource)
        policy = [bucket.policy] if bucket and bucket.policy else []
        if not mine and not policies_permit(policy, action, resource, caller["arn"] if caller else "anonymous"):
            who = f"User: {caller['arn']} is" if caller else "Anonymous users are"
            raise Refused("AccessDenied", f"{who} not authorized to perform: {action} on resource: \"{resource}\" "
                                          "because no identity-based policy allows the action")
        if bucket is None and action != "s3:CreateBucket":
            raise Refused("NoSuchBucket", "The specified bucket does not exist")
        return bucket

    # The account

    def _list_buckets(self, caller, request, key, query):
        if request.method != "GET" or key or query:
            raise Refused("NotImplemented", "Only a list of buckets is answered here")
        if caller is None or not self.iam.permits(caller, "s3:ListAllMyBuckets", "*"):
            raise Refused("AccessDenied", f"User: {caller['arn'] if caller else 'anonymous'} is not authorized to "
                                          "perform: s3:ListAllMyBuckets because no identity-based policy allows the "
                                          "s3:ListAllMyBuckets action")
        listed = "".join(f"<Bucket><Name>{name}</Name><CreationDate>{bucket.created}</CreationDate></Bucket>"
                         for name, bucket in sorted(self.buckets.items()))
        return _xml(f'<ListAllMyBucketsResult xmlns="{NAMESPACE}"><Buckets>{listed}</Buckets></ListAllMyBucketsResult>')

    # Buckets

    def _on_bucket(self, caller, request, body, name, query):
        what = (request.method, *(q for q in ("policy", "publicAccessBlock", "list-type") if q in query))
        operations = {
            ("PUT",): self._create_bucket, ("DELETE",): self._delete_bucket, ("GET", "list-type"): self._list,
            ("PUT", "policy"): self._put_policy, ("PUT", "publicAccessBlock"): self._put_public_access_block}
        if what not in operations:
            raise Refused("NotImplemented", f"{' '.join(what)} is not answered here")
        return operations[what](caller, name, body, query)

    def _create_bucket(self, caller, name, body, _):
        self._allow(caller, "s3:CreateBucket", name)
        if not BUCKET_NAME.fullmatch(name):
            raise Refused("InvalidBucketName", "The specified bucket is not valid.")
        where = re.search(rb"<LocationConstraint>([a-z0-9-]+)</LocationConstraint>", body)
        if (where[1].decode() if where else "us-east-1") != self.world.region:
            raise Refused("IllegalLocationConstraintException", "The location constraint is incompatible for the region "
                                                                "specific endpoint this request was sent to.")
        if name in self.buckets:
            raise Refused("BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded")
        self.buckets[name] = Bucket(timestamp(self.world.now()))
        return web.Response(headers={"Location": f"/{name}"})

    def _delete_bucket(self, caller, name, *_):
        if self._allow(caller, "s3:DeleteBucket", name).objects:
            raise Refused("BucketNotEmpty", "The bucket you tried to delete is not empty")
        del self.buckets[name]
        return web.Response(status=204)

    def _put_policy(self, caller, name, body, _):
        bucket = self._allow(caller, "s3:PutBucketPolicy", name)
        policy = parse_policy(body)
        check_permissions(policy, principal=True)
        if not bucket.public_allowed and policies_permit([policy], "s3:GetObject", f"arn:aws:s3:::{name}/x", "anonymous"):
            raise Refused("AccessDenied", "User is not authorized to perform: s3:PutBucketPolicy because public policies "
                                          "are blocked by the BlockPublicPolicy block public access setting.")
        bucket.policy = policy
        return web.Response(status=204)

    def _put_public_access_block(self, caller, name, body, _):
        bucket = self._allow(caller, "s3:PutBucketPublicAccessBlock", name)
        said = dict(re.findall(r"<(BlockPublicPolicy|RestrictPublicBuckets)>(true|false)<", body.decode()))
        bucket.public_allowed = "true" not in said.values() and len(said) == 2
        return web.Response()

    def _list(self, caller, name, _, query):
        bucket = self._allow(caller, "s3:ListBucket", name)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        contents, folders = "", set()
        for key, (data, _, etag, at) in sorted(bucket.objects.items()):
            rest = key.removeprefix(prefix)
            if not key.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                continue
            contents += (f"<Contents><Key>{urllib.parse.quote(key)}</Key><LastModified>{timestamp(at)}</LastModified>"
                         f"<ETag>{escape(etag)}</ETag><Size>{len(data)}</Size><StorageClass>STANDARD</StorageClass>"
                         "</Contents>")
        common = "".join(f"<CommonPrefixes><Prefix>{urllib.parse.quote(f)}</Prefix></CommonPrefixes>"
                         for f in sorted(folders))
        return _xml(f'<ListBucketResult xmlns="{NAMESPACE}"><Name>{name}</Name><Prefix>{escape(prefix)}</Prefix>'
                    f"<MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"
                    f"{contents}{common}</ListBucketResult>")

    # Objects

    def _on_object(self, caller, request, body, name, key, query):
        if query:
            raise Refused("NotImplemented", f"{', '.join(query)} is not answered here")
        if request.method == "PUT":
            bucket = self._allow(caller, "s3:PutObject", name, key)
            data = uploaded(request, body)
            etag = f'"{hashlib.md5(data).hexdigest()}"'
            bucket.objects[key] = (data, request.headers.get("Content-Type", "binary/octet-stream"), etag,
                                   self.world.now())
            return web.Response(headers={"ETag": etag})
        if request.method in ("GET", "HEAD"):
            bucket = self._allow(caller, "s3:GetObject", name, key)
            if key not in bucket.objects:
                raise Refused("NoSuchKey", "The specified key does not exist.")
            data, content_type, etag, at = bucket.objects[key]
            return web.Response(body=data, headers={"ETag": etag, "Content-Type": content_type,
                                                    "Last-Modified": formatdate(at, usegmt=True)})
        if request.method == "DELETE":
            self._allow(caller, "s3:DeleteObject", name, key).objects.pop(key, None)
            return web.Response(status=204)
        raise Refused("MethodNotAllowed", "The specified method is not allowed against this resource.")


def _xml(text):
    return web.Response(content_type="application/xml", body=b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode())


def uploaded(request, body):
    """The object in the body of a PUT: as it is, or in chunks with the checksum behind them."""
    checksums = {name.lower(): value for name, value in request.headers.items()
                 if name.lower().startswith("x-amz-checksum-")}
    if request.headers.get("X-Amz-Content-SHA256", "").startswith("STREAMING-"):
        body, trailer = unchunked(body)
        if set(trailer) != {request.headers.get("X-Amz-Trailer", "").lower()}:
            raise Refused("MalformedTrailerError", "The request contained trailing data that was not well-formed")
        checksums.update(trailer)
        if request.headers.get("X-Amz-Decoded-Content-Length") != str(len(body)):
            raise Refused("IncompleteBody", "The body has not the length that was told")
    for name, value in checksums.items():
        if name != "x-amz-checksum-crc32":
            raise Refused("NotImplemented", f"{name} is not computed here")
        if base64.b64decode(value) != zlib.crc32(body).to_bytes(4, "big"):
            raise Refused("BadDigest", "The CRC32 you specified did not match the calculated checksum.")
    return body


def unchunked(body):
    """The data and the trailer of aws-chunked content."""
    data = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            lines = [line for line in body.decode().split("\r\n") if line]
            return data, {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        if body[length:length + 2] != b"\r\n":
            raise Refused("IncompleteBody", "A chunk is not as long as it says")
        data, body = data + body[:length], body[length + 2:]
