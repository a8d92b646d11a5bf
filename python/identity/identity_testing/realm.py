"""A realm of Keycloak, as far as its keys and tokens go."""

from __future__ import annotations

import base64
import json
import time
import warnings
from collections.abc import Mapping

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

ISSUER = "https://domino.example/auth/realms/DominoRealm"


class SigningKey:
    """A key pair with an id, as a realm has it."""

    def __init__(self, key_id: str, algorithm: str = "RS256", bits: int = 2048) -> None:
        self.key_id = key_id
        self.algorithm = algorithm
        self.private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
        if algorithm == "EdDSA":
            self.private = ed448.Ed448PrivateKey.generate() if bits == 448 else ed25519.Ed25519PrivateKey.generate()
        elif algorithm.startswith("ES"):
            self.private = ec.generate_private_key(ec.SECP384R1() if algorithm == "ES384" else ec.SECP256R1())
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    def public(self, encoding: serialization.Encoding) -> bytes:
        """The public key in PEM or DER."""
        return self.private.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)

    def jwk(self, **changes: object) -> dict[str, object]:
        """The public key as a JWKS lists it; a change to None leaves a field out."""
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            described = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            described = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
        else:
            described = jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True)
        fields = {**described, "kid": self.key_id, "use": "sig", "alg": self.algorithm, **changes}
        fields.pop("key_ops", None)
        return {name: value for name, value in fields.items() if value is not None}

    def token(self, claims: Mapping[str, object], **headers: object) -> str:
        """A signed token with just these claims."""
        # Below the library's `encode`, which refuses to sign what a test wants to have refused later.
        payload = json.dumps(dict(claims)).encode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
            return jwt.PyJWS().encode(payload, self.private, self.algorithm, {"kid": self.key_id, **headers})


def jwks(*keys: Mapping[str, object]) -> bytes:
    """A JWKS document."""
    return json.dumps({"keys": keys}).encode()


def claims(**changes: object) -> dict[str, object]:
    """What a good access token of Domino's says; a change to None leaves a claim out."""
    now = int(time.time())
    usual = {
        "iss": ISSUER,
        "sub": "6170",
        "typ": "Bearer",
        "iat": now,
        "exp": now + 300,
        "aud": ["domino-play", "account"],
        "preferred_username": "ann",
        "user_groups": ["/roles/Practitioner", "/organizations/acme"],
        **changes,
    }
    return {name: value for name, value in usual.items() if value is not None}


def part(value: object) -> str:
    """A part of a token that nobody has to sign."""
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def unsigned(algorithm: object, signature: str = "", **changes: object) -> str:
    """A token of the key with the id "rsa" that nobody signed."""
    return f"{part({'alg': algorithm, 'kid': 'rsa', 'typ': 'JWT'})}.{part(claims(**changes))}.{signature}"


def by_secret(secret: bytes) -> str:
    """The same signed with HS256; the library itself would not sign with a public key."""
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signed = unsigned("HS256")[:-1]
    signature = base64.urlsafe_b64encode(algorithm.sign(signed.encode(), secret)).rstrip(b"=").decode()
    return f"{signed}.{signature}"
