"""Tokens of an add-on are good when Clockify signed them, for this workspace, and they have not expired."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jws
from joserfc.jwk import RSAKey

from sync_pipeline.errors import ConfigError
from sync_pipeline.webhooks.hooks import ADDON, HookStore, new_hook
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline.webhooks.signed import load_addon_key
from sync_pipeline_tests.webhooks.sending import START, UPDATED, WORKSPACE, Clock, Sender, add_hook, delivering

GOOD = {"iss": "clockify", "type": "addon", "sub": "our-addon", "workspaceId": WORKSPACE, "addonId": "a1"}
NOW = START.timestamp()
MINUTE = 60


@pytest.fixture(scope="module")
def clockify() -> rsa.RSAPrivateKey:
    """Clockify's private key."""
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def stranger() -> rsa.RSAPrivateKey:
    """Someone else's private key."""
    return rsa.generate_private_key(65537, 2048)


def pem(key: Any) -> bytes:
    """The public half as PEM."""
    public: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public


def signed(claims: dict[str, Any], key: Any, algorithm: str = "RS256") -> str:
    """A token with these claims."""
    header, signer = {"alg": algorithm, "typ": "JWT"}, RSAKey.import_key(private_pem(key))
    return jws.serialize_compact(header, json.dumps(claims), signer, algorithms=[algorithm])


def forgery(algorithm: str, password: bytes = b"") -> str:
    """A token of an algorithm that needs no private key, which a library may refuse to write."""
    parts = [json.dumps(part).encode() for part in ({"alg": algorithm, "typ": "JWT"}, GOOD)]
    text = ".".join(map(_encoded, parts))
    return f"{text}.{_encoded(hmac.digest(password, text.encode(), 'sha256')) if password else ''}"


def _encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).decode().rstrip("=")


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    """The private half as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_an_addon_delivers_every_event_to_one_address(
    hooks: HookStore, clock: Clock, clockify: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    """The path is its own; its tokens are no good at other hooks, nor theirs here."""
    file = tmp_path / "clockify.pem"
    file.write_bytes(pem(clockify))
    addon, ordinary = new_hook(ADDON), add_hook(hooks, UPDATED)
    hooks.save(addon, START)
    token = signed(GOOD, clockify)
    options = ReceiverOptions(workspace=WORKSPACE, addon_key=load_addon_key(file))
    with delivering(hooks, addon, options, clock) as sender:
        assert sender.send({"id": "p1"}, event="NEW_PROJECT", token=token).status_code == 200
        assert sender.send(token=token).status_code == 200
        assert sender.send(token=ordinary.token).status_code == 401
        assert sender.send(token=token, path=ordinary.path(WORKSPACE)).status_code == 401
        assert sender.send(token=token, path=replace(addon, secret="guess").path(WORKSPACE)).status_code == 404


def test_without_the_public_key_no_addon_is_believed(sender: Sender, clockify: rsa.RSAPrivateKey) -> None:
    """Nothing to check a signature with."""
    addon = new_hook(ADDON)
    sender.hooks.save(addon, START)

    answer = sender.send(token=signed(GOOD, clockify), path=addon.path(WORKSPACE))

    assert answer.json() == {"refused": "signature"}


CLAIMS: dict[str, tuple[bool, dict[str, Any]]] = {
    "as an installation has it": (True, {}),
    "not expired": (True, {"exp": NOW + MINUTE}),
    "expired, within the clocks' difference": (True, {"exp": NOW - MINUTE}),
    "expired": (False, {"exp": NOW - 3 * MINUTE}),
    "issued by a clock ahead of ours": (True, {"iat": NOW + MINUTE, "nbf": NOW + MINUTE}),
    "not yet good": (False, {"nbf": NOW + 3 * MINUTE}),
    "a time that is none": (False, {"exp": "soon"}),
    "another workspace": (False, {"workspaceId": "w2"}),
    "no workspace": (False, {"workspaceId": None}),
    "a user's token": (False, {"type": "user"}),
    "another issuer": (False, {"iss": "somebody"}),
}


@pytest.mark.parametrize(("good", "claims"), CLAIMS.values(), ids=CLAIMS.keys())
def test_claims(clockify: rsa.RSAPrivateKey, tmp_path: Path, good: bool, claims: dict[str, Any]) -> None:
    """Each claim that matters, one at a time."""
    file = tmp_path / "clockify.pem"
    file.write_bytes(pem(clockify))
    key = load_addon_key(file)

    assert key is not None
    assert key.accepts(signed(GOOD | claims, clockify), WORKSPACE, START) is good


def test_the_issuer_must_be_there(clockify: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    """A token that names none is not Clockify's."""
    file = tmp_path / "clockify.pem"
    file.write_bytes(pem(clockify))
    key = load_addon_key(file)
    claims = {name: value for name, value in GOOD.items() if name != "iss"}

    assert key is not None
    assert not key.accepts(signed(claims, clockify), WORKSPACE, START)


def test_only_clockifys_rsa_signature_counts(
    clockify: rsa.RSAPrivateKey, stranger: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    """Not another key, not an unsigned token, not the public key used as a password, not a changed or broken one."""
    file = tmp_path / "clockify.pem"
    file.write_bytes(pem(clockify))
    key = load_addon_key(file)
    assert key is not None
    good = signed(GOOD, clockify)
    head, _, tail = good.split(".")
    changed = signed(GOOD | {"sub": "other"}, clockify).split(".")[1]
    forged = {
        "another key": signed(GOOD, stranger),
        "unsigned": forgery("none"),
        "with a password": forgery("HS256", pem(clockify)),
        "another hash": signed(GOOD, clockify, "RS512"),
        "changed": f"{head}.{changed}.{tail}",
        "cut off": good[:-20],
        "nothing": "",
        "not ASCII": "\u00e4.\u00f6.\u00fc",
    }

    assert key.accepts(good, WORKSPACE, START)
    assert [name for name, token in forged.items() if key.accepts(token, WORKSPACE, START)] == []


def test_a_file_without_the_key_is_reported(tmp_path: Path) -> None:
    """Missing, not PEM, or a key of another kind: the setting is named."""
    file = tmp_path / "clockify.pem"
    for content in (None, b"nothing", pem(ec.generate_private_key(ec.SECP256R1()))):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ConfigError, match="CLOCKIFY_ADDON_PUBLIC_KEY"):
            load_addon_key(file)
    assert load_addon_key(None) is None
