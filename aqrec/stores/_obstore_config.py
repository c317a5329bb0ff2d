"""From a bucket's URL and the options of the other drivers to obstore's own store objects."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aqrec.errors import InvalidInputError

from ._options import Knob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._place import Place

__all__ = ["OPTIONS", "Native", "take_token"]

_COMMON: Final = {
    "anon": Knob(bool),
    "client_options": Knob(dict),
    "config": Knob(dict),
    "connect_timeout": Knob(float),
    "endpoint_url": Knob(str),
    "parallel": Knob(int),
    "part_size": Knob(int),
    "read_timeout": Knob(float),
    "retries": Knob(int),
}
_S3: Final = ("key", "profile", "region", "secret", "token")
_AZ: Final = (
    "account_key",
    "account_name",
    "client_id",
    "client_secret",
    "connection_string",
    "sas_token",
    "tenant_id",
)
OPTIONS: Final = {
    "s3": {**_COMMON, **{name: Knob(str) for name in _S3}},
    "gs": _COMMON,
    "az": {**_COMMON, **{name: Knob(str) for name in _AZ}},
}
"""Storage options of each kind of service, but for Google's token."""

ENDPOINTS: Final = {"s3": "endpoint", "gs": "base_url", "az": "endpoint"}
RENEWED: Final = timedelta(minutes=10)
"""How long obstore keeps what botocore has given it."""
REQUEST: Final = 120.0
"""Seconds for a whole request; obstore's 30 would fail parts on slow lines."""


def take_token(place: Place, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split off Google's ``token``, which may be a text or a dict.

    Raises
    ------
    InvalidInputError
        It is something else.
    """
    rest = dict(options)
    if place.kind != "gs" or (token := rest.pop("token", None)) is None:
        return {}, rest
    known = token in {"anon", "google_default"} if isinstance(token, str) else isinstance(token, dict)
    if not known and not (isinstance(token, str) and Path(token).expanduser().is_file()):
        raise InvalidInputError(
            f"the token of {place.url} must be 'anon', 'google_default', the path of a JSON file with "
            "credentials, or its content as a dict"
        )
    return {"token": token}, rest


class Native:
    """Makes obstore's stores of one place.

    Parameters
    ----------
    options
        Checked by `OPTIONS`.
    retries
        How often a store that repeats does so.
    """

    def __init__(self, place: Place, options: Mapping[str, Any], retries: int) -> None:
        self._place = place
        self._options = dict(options)
        self._retries = retries

    def __call__(self, *, retry: bool) -> Any:
        """Return a store that repeats requests, or does not.

        Raises
        ------
        InvalidInputError
            obstore refuses an option, or one needs what is not installed.
        """
        from obstore import store as stores  # noqa: PLC0415 - an extra

        place, options = self._place, self._options
        if place.kind == "s3":
            config, extra = _s3(place, options)
        else:
            config, extra = _gs(options) if place.kind == "gs" else _az(place, options), {}
        config |= options.get("config", {})
        client: Any = {
            "connect_timeout": timedelta(seconds=options.get("connect_timeout", 5.0)),
            "read_timeout": timedelta(seconds=options.get("read_timeout", 20.0)),
            "timeout": timedelta(seconds=REQUEST),
            "allow_http": str(config.get(ENDPOINTS[place.kind], "")).startswith("http://"),
            **options.get("client_options", {}),
        }
        again: Any = {
            "max_retries": self._retries if retry else 0,
            "retry_timeout": timedelta(seconds=REQUEST),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        }
        make: Any = {"s3": stores.S3Store, "gs": stores.GCSStore, "az": stores.AzureStore}[place.kind]
        try:
            return make(place.bucket, config=config, client_options=client, retry_config=again, **extra)
        except Exception:  # noqa: BLE001 - its own text may show what was configured
            given = ", ".join(sorted(self._options)) or "none"
            raise InvalidInputError(
                f"obstore cannot be used for {place.url} with the storage options given ({given}) and what the "
                "environment says"
            ) from None


def _s3(place: Place, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    names = {
        "key": "access_key_id",
        "secret": "secret_access_key",
        "token": "session_token",
        "region": "region",
        "endpoint_url": "endpoint",
    }
    config = {name: options[given] for given, name in names.items() if given in options}
    if options.get("anon"):
        config["skip_signature"] = True
    elif "key" not in options and (session := _aws_files(place, options.get("profile"))) is not None:
        if "region" not in config and (region := session.get_config_variable("region")):
            config["region"] = region
        return config, {"credential_provider": _AwsCredentials(session)}
    return config, {}


def _aws_files(place: Place, profile: str | None) -> Any:
    """Return a botocore session where the configuration files of AWS must be read; obstore does not."""
    files = (
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path("~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE") or Path("~/.aws/config"),
    )
    if profile is None and (
        "AWS_ACCESS_KEY_ID" in os.environ or not any(Path(file).expanduser().exists() for file in files)
    ):
        return None
    try:
        from botocore.session import Session  # noqa: PLC0415 - slow, and comes with another extra
    except ImportError as error:
        if profile is None:
            return None
        raise InvalidInputError(
            f"the profile {profile!r} for {place.url} needs botocore: pip install 'aqrec[s3]'"
        ) from error
    return Session(profile=profile)


class _AwsCredentials:
    """What obstore calls when it needs credentials; botocore renews them."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self) -> dict[str, Any]:
        found = self._session.get_credentials()
        if found is None:
            raise LookupError("no AWS credentials in the environment, the configuration files or the machine")
        frozen = found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + RENEWED,
        }


def _gs(options: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if "endpoint_url" in options:
        config["base_url"] = options["endpoint_url"]
    token = options.get("token")
    if options.get("anon") or token == "anon":  # noqa: S105 - the name of a mode
        # writes are signed all the same: emulators take anything, and Google refuses this
        return {**config, "skip_signature": True, "bearer_token": "anonymous"}
    if isinstance(token, dict):
        config["service_account_key"] = json.dumps(token)
    elif token is not None and token != "google_default":  # noqa: S105 - likewise
        config["application_credentials"] = str(Path(token).expanduser())
    return config


def _az(place: Place, options: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if place.account:
        config["account_name"] = place.account
    if "connection_string" in options:
        config |= _connection(place, options["connection_string"])
    names = {
        "account_name": "account_name",
        "account_key": "account_key",
        "sas_token": "sas_key",
        "tenant_id": "tenant_id",
        "client_id": "client_id",
        "client_secret": "client_secret",
        "endpoint_url": "endpoint",
    }
    config |= {name: options[given] for given, name in names.items() if given in options}
    if options.get("anon"):
        config["skip_signature"] = True
    return config


def _connection(place: Place, text: str) -> dict[str, Any]:
    found = dict(piece.split("=", 1) for piece in text.split(";") if "=" in piece)
    names = {"AccountName": "account_name", "AccountKey": "account_key", "SharedAccessSignature": "sas_key"}
    config: dict[str, Any] = {name: found[given] for given, name in names.items() if given in found}
    if "BlobEndpoint" in found:
        config["endpoint"] = found["BlobEndpoint"].rstrip("/")
    elif "EndpointSuffix" in found and "AccountName" in found:
        protocol = found.get("DefaultEndpointsProtocol", "https")
        config["endpoint"] = f"{protocol}://{found['AccountName']}.blob.{found['EndpointSuffix']}"
    if not config:
        raise InvalidInputError(
            f"the connection_string for {place.url} must hold AccountName, and AccountKey or "
            "SharedAccessSignature, as the Azure portal shows it"
        )
    return config
