"""The simulators' certificates (a CA of their own, and every kind of bad certificate) and their token-signing keys."""

import base64
import datetime
import hashlib
import hmac
import ipaddress
import json
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# What a listener can be told to present instead of its good certificate. The last three are not certificates: they
# are servers that do not speak TLS as they should.
BAD_CERTIFICATES = ("expired", "not_yet_valid", "wrong_name", "cn_only", "unknown_ca", "self_signed", "client_only",
                    "tls11")
NOT_TLS = ("plaintext", "garbage", "mute")


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _integer(value, size=None):
    return b64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def write_atomically(path, data, mode=0o644):
    if isinstance(data, str):
        data = data.encode()
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
    os.replace(temporary, path)


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


class Authority:
    def __init__(self, common_name):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        now = datetime.datetime.utcnow()
        self.certificate = (
            x509.CertificateBuilder().subject_name(self.name).issuer_name(self.name)
            .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=30)).not_valid_after(now + datetime.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256()))

    @property
    def pem(self):
        return _pem(self.certificate)

    def issue(self, names, begins_in=-1, ends_in=365, usage=ExtendedKeyUsageOID.SERVER_AUTH, self_signed=False,
              common_name=None, organizations=()):
        """A certificate, a server's unless told otherwise, and its key, both as PEM. Days are relative to now; no names:
        only a common name. To Kubernetes, a client's common name is the user and its organizations are the groups."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.utcnow()
        common_name = common_name or (names[0] if names else "localhost")
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
                            + [x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(subject if self_signed else self.name)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=begins_in))
            .not_valid_after(now + datetime.timedelta(days=ends_in))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False))
        if not self_signed:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), False)
        certificate = builder.sign(key if self_signed else self.key, hashes.SHA256())
        return _pem(certificate), key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                    serialization.NoEncryption())


def _general_name(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class ServerCertificates:
    """The good certificate of one server and all its bad ones, as ready SSL contexts, made when first asked for."""

    def __init__(self, directory, prefix, authority, names):
        self.directory, self.prefix, self.authority, self.names = directory, prefix, authority, names
        self.contexts = {}

    def context(self, kind):
        if kind not in self.contexts:
            self.contexts[kind] = self._make(kind)
        return self.contexts[kind]

    def _make(self, kind):
        issue = {
            "good": lambda: self.authority.issue(self.names),
            "expired": lambda: self.authority.issue(self.names, begins_in=-20, ends_in=-1),
            "not_yet_valid": lambda: self.authority.issue(self.names, begins_in=1),
            "wrong_name": lambda: self.authority.issue(["other.example", "192.0.2.1"]),
            "cn_only": lambda: self.authority.issue([]),
            "unknown_ca": lambda: Authority("somebody else").issue(self.names),
            "self_signed": lambda: self.authority.issue(self.names, self_signed=True),
            "client_only": lambda: self.authority.issue(self.names, usage=ExtendedKeyUsageOID.CLIENT_AUTH),
            "tls11": lambda: self.authority.issue(self.names),
        }[kind]
        certificate, key = issue()
        base = os.path.join(self.directory, f"{self.prefix}-{kind}")
        write_atomically(base + ".crt", certificate)
        write_atomically(base + ".key", key, 0o600)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(base + ".crt", base + ".key")
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if kind == "tls11":
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context


_HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
_CURVES = {"ES256": (ec.SECP256R1, 32), "ES384": (ec.SECP384R1, 48), "ES512": (ec.SECP521R1, 66)}


class SigningKey:
    """One key of the token issuer. Signs what PyJWT would refuse to sign too: forged tokens are made with it."""

    def __init__(self, algorithm="RS256", bits=2048):
        self.algorithm = algorithm
        self.private = (ec.generate_private_key(_CURVES[algorithm][0]()) if algorithm in _CURVES
                        else rsa.generate_private_key(65537, bits))
        self.public = self.private.public_key()
        der = self.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.kid = b64url(hashlib.sha256(der).digest())

    def jwk(self):
        common = {"use": "sig", "kid": self.kid, "alg": self.algorithm}
        numbers = self.public.public_numbers()
        if self.algorithm in _CURVES:
            curve, size = _CURVES[self.algorithm]
            name = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[self.algorithm]
            return {**common, "kty": "EC", "crv": name, "x": _integer(numbers.x, size), "y": _integer(numbers.y, size)}
        return {**common, "kty": "RSA", "n": _integer(numbers.n), "e": _integer(numbers.e)}

    def public_pem(self):
        return self.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, data, algorithm=None):
        algorithm = algorithm or self.algorithm
        if algorithm == "none":
            return b""
        digest = _HASHES[algorithm[2:]]
        if algorithm.startswith("HS"):  # the classic confusion: the public key as an HMAC secret
            return hmac.new(self.public_pem(), data, digest.name).digest()
        if algorithm.startswith("PS"):
            return self.private.sign(data, padding.PSS(padding.MGF1(digest()), digest.digest_size), digest())
        if algorithm.startswith("RS"):
            return self.private.sign(data, padding.PKCS1v15(), digest())
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest())))
        size = (self.private.curve.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def token(self, claims, algorithm=None, header=None, omit=()):
        """A compact JWT. `header` overrides or adds header parameters; those named in `omit` are left out."""
        parts = {"alg": algorithm or self.algorithm, "kid": self.kid, **(header or {})}
        for name in omit:
            parts.pop(name, None)
        encoded = f"{b64url(json.dumps(parts, separators=(',', ':')).encode())}." \
                  f"{b64url(json.dumps(claims, separators=(',', ':')).encode())}"
        return f"{encoded}.{b64url(self.sign(encoded.encode(), algorithm))}"
