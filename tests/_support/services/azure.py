"""Azure Blob Storage: Azurite, Microsoft's own emulator, on Node."""

import shutil
from pathlib import Path
from typing import Any

from tests._support.services._base import Location, Service, run_installer, tools_folder

__all__ = ["Azurite", "azure_container"]

VERSION = "3.37.0"
ACCOUNT = "devstoreaccount1"
# Published in Azurite's README: every installation has it.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Azurite(Service):
    """Azurite's blob service, with its objects on disk; creation is atomic, signatures are checked."""

    name = "azurite"
    scheme = "az"

    def why_not(self) -> str:
        missing = [name for name in ("node", "npm") if shutil.which(name) is None]
        return f"needs {' and '.join(missing)}" if missing else ""

    def install(self) -> None:
        if not self._main.exists():
            quiet = ("--silent", "--no-audit", "--no-fund")
            run_installer(
                self.name, ["npm", "install", *quiet, "--prefix", self._prefix, f"azurite@{VERSION}"]
            )

    def launch(self) -> None:
        serve = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "-l", self.folder / "data"]
        # Without the last one it refuses SDKs that are newer than itself.
        quiet = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        self.spawn(["node", self._main, *serve, *quiet])

    def options(self, endpoint: str) -> dict[str, Any]:
        account = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY}"
        return {"connection_string": f"{account};BlobEndpoint={endpoint}/{ACCOUNT};"}

    def make_bucket(self, name: str) -> None:
        from azure.storage.blob import BlobServiceClient

        options = self.options(self.endpoint)
        with BlobServiceClient.from_connection_string(options["connection_string"]) as client:
            client.create_container(name)

    @property
    def _prefix(self) -> Path:
        return tools_folder() / f"azurite-{VERSION}"

    @property
    def _main(self) -> Path:
        return self._prefix / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def azure_container(where: Location) -> Any:
    """Return a blocking client of a place's container, which knows nothing of the code under test."""
    from azure.storage.blob import BlobServiceClient

    client = BlobServiceClient.from_connection_string(where.storage_options["connection_string"])
    return client.get_container_client(where.bucket)
