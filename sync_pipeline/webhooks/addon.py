"""Tokens of a Clockify add-on: RS256 JWTs that Clockify signs, checked against its public key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from sync_pipeline.errors import ConfigError

SETTING = "CLOCKIFY_ADDON_PUBLIC_KEY"
ISSUER = "clockify"
TYPE = "addon"
SKEW = timedelta(minutes=2)
"""How far Clockify's clock and ours may be apart."""


@dataclass(frozen=True, slots=True)
class AddonKey:
    """Clockify's public key."""

    key: RSAKey

    def accepts(self, token: str, workspace: str, now: datetime) -> bool:
        """Whether Clockify signed the token, for an add-on in this workspace, and it has not expired."""
        try:
            claims = jwt.decode(token, self.key, algorithms=["RS256"]).claims  # the signature; claims are checked below
        except (JoseError, ValueError):
            return False
        return (
            claims.get("iss") == ISSUER
            and claims.get("type") == TYPE
            and claims.get("workspaceId") == workspace
            and _is_current(claims, now.timestamp())
        )


def load_addon_key(file: Path | None) -> AddonKey | None:
    """The key in a PEM file; None when there is no such setting."""
    if file is None:
        return None
    try:
        pem = file.read_bytes()
        key = load_pem_public_key(pem)
    except OSError as error:
        raise ConfigError(f"{SETTING}: {file} cannot be read: {error.strerror}.") from error
    except ValueError:
        key = None  # reported below, together with keys of another kind
    if not isinstance(key, RSAPublicKey):
        raise ConfigError(
            f"{SETTING}: {file} holds no RSA public key.", fix="Save the PEM text from Clockify's add-on documentation."
        )
    return AddonKey(RSAKey.import_key(pem))


def _is_current(claims: Mapping[str, Any], now: float) -> bool:
    """A token without times never expires, as those of an installation's webhooks are."""
    begins, ends = claims.get("nbf"), claims.get("exp")
    if not all(at is None or isinstance(at, int | float) for at in (begins, ends)):
        return False
    skew = SKEW.total_seconds()
    return (begins is None or now >= begins - skew) and (ends is None or now < ends + skew)
