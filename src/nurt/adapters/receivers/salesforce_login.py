"""Log in to Salesforce by a signed statement. Source: RFC 7523, OAuth 2.0 JWT bearer."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode

import orjson

from nurt.errors import ConfigurationError

GOOD_S = 180


def jwt_assertion(private_key: str, client_id: str, user: str, audience: str) -> str:
    """Make a statement that is valid for three minutes, signed by RS256.

    Raises ConfigurationError when the key is not valid, or the package for signatures is missing.
    """
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
    except ImportError:
        raise ConfigurationError(
            "logging in by JWT: the package cryptography is not installed; `pip install cryptography`"
        ) from None
    try:
        key = serialization.load_pem_private_key(private_key.encode(), None)
    except (ValueError, TypeError):
        raise ConfigurationError(
            "reading `private_key`: it is no unencrypted PEM key; write `file:/path/to/key.pem`"
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigurationError("reading `private_key`: it is no RSA key; make one with `openssl genrsa 2048`")
    claims = {"iss": client_id, "sub": user, "aud": audience, "exp": int(time.time()) + GOOD_S}
    signed = b".".join(_part(orjson.dumps(one)) for one in ({"alg": "RS256", "typ": "JWT"}, claims))
    return (signed + b"." + _part(key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))).decode()


def _part(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")
