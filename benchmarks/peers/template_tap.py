"""A tap as the SDK's cookiecutter template makes one for this API: REST, basic authentication, the SDK's defaults."""

from __future__ import annotations

import decimal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from requests.auth import HTTPBasicAuth
from singer_sdk import RESTStream, SchemaDirectory, StreamSchema, Tap
from singer_sdk import typing as th
from singer_sdk.helpers.jsonpath import extract_jsonpath
from singer_sdk.pagination import JSONPathPaginator

if TYPE_CHECKING:
    import requests
    from singer_sdk.streams.rest import HTTPRequest, PageContext

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

SCHEMAS_DIR = SchemaDirectory(Path(__file__).resolve().parent.parent.parent / "schemas")


class ActivityLogsStream(RESTStream[str]):
    """Activity logs."""

    name = "activity_logs"
    path = "/activity-logs"
    primary_keys: ClassVar[list[str]] = ["id"]
    replication_key = "createdAt"
    schema: ClassVar[StreamSchema[Any]] = StreamSchema(SCHEMAS_DIR)
    records_jsonpath = "$.items[*]"

    @property
    @override
    def url_base(self) -> str:
        return str(self.config["api_url"])

    @property
    @override
    def authenticator(self) -> HTTPBasicAuth:
        return HTTPBasicAuth(self.config["client_id"], self.config["client_secret"])

    @override
    def get_new_paginator(self) -> JSONPathPaginator:
        return JSONPathPaginator("$.pagination.after")

    @override
    def get_http_request(self, *, page: PageContext[str]) -> HTTPRequest:
        request = super().get_http_request(page=page)
        request.params = {"sortOrder": "ASC", "limit": 100}
        if page.next_page_token:
            request.params["after"] = page.next_page_token
        return request

    @override
    def parse_response(self, response: requests.Response) -> Iterable[dict[str, Any]]:
        yield from extract_jsonpath(self.records_jsonpath, input=response.json(parse_float=decimal.Decimal))


class TemplateTap(Tap):
    """The tap."""

    name = "tap-template"
    config_jsonschema = th.PropertiesList(
        th.Property("api_url", th.StringType(), required=True),
        th.Property("client_id", th.StringType(), required=True, secret=True),
        th.Property("client_secret", th.StringType(), required=True, secret=True),
    ).to_dict()

    @override
    def discover_streams(self) -> list[ActivityLogsStream]:
        return [ActivityLogsStream(self)]


if __name__ == "__main__":
    TemplateTap.cli()
