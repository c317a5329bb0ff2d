"""Servers that tests run against, and the bad network between; how to add one: `_base`."""

from tests._support.services._base import Location, Service, ServiceUnavailableError
from tests._support.services.azure import Azurite
from tests._support.services.fault_proxy import FaultProxy, Request, Rule, bad_weather
from tests._support.services.google import FakeGcs, GcsXml
from tests._support.services.s3 import Ceph, Moto, RcloneS3, s3_client

__all__ = [
    "Azurite",
    "Ceph",
    "FakeGcs",
    "FaultProxy",
    "GcsXml",
    "Location",
    "Moto",
    "RcloneS3",
    "Request",
    "Rule",
    "Service",
    "ServiceUnavailableError",
    "bad_weather",
    "s3_client",
]
