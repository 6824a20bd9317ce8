"""The list read with Airbyte's low-code CDK: a declarative source, run as its own entry point does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from airbyte_cdk.entrypoint import launch
from airbyte_cdk.models import ConfiguredAirbyteCatalogSerializer
from airbyte_cdk.sources.declarative.concurrent_declarative_source import ConcurrentDeclarativeSource

_ROOT = Path(__file__).resolve().parent.parent.parent
_SCHEMA: dict[str, Any] = json.loads((_ROOT / "schemas" / "activity_logs.json").read_text(encoding="utf-8"))

MANIFEST: dict[str, Any] = {
    "version": "6.0.0",
    "type": "DeclarativeSource",
    "check": {"type": "CheckStream", "stream_names": ["activity_logs"]},
    "streams": [
        {
            "type": "DeclarativeStream",
            "name": "activity_logs",
            "primary_key": ["id"],
            "schema_loader": {"type": "InlineSchemaLoader", "schema": _SCHEMA},
            "retriever": {
                "type": "SimpleRetriever",
                "requester": {
                    "type": "HttpRequester",
                    "url_base": "{{ config['api_url'] }}",
                    "path": "/activity-logs",
                    "http_method": "GET",
                    "authenticator": {
                        "type": "BasicHttpAuthenticator",
                        "username": "{{ config['client_id'] }}",
                        "password": "{{ config['client_secret'] }}",
                    },
                    "request_parameters": {"sortOrder": "ASC"},
                },
                "record_selector": {
                    "type": "RecordSelector",
                    "extractor": {"type": "DpathExtractor", "field_path": ["items"]},
                },
                "paginator": {
                    "type": "DefaultPaginator",
                    "page_size_option": {
                        "type": "RequestOption",
                        "inject_into": "request_parameter",
                        "field_name": "limit",
                    },
                    "page_token_option": {
                        "type": "RequestOption",
                        "inject_into": "request_parameter",
                        "field_name": "after",
                    },
                    "pagination_strategy": {
                        "type": "CursorPagination",
                        "page_size": 100,
                        "cursor_value": "{{ response.get('pagination', {}).get('after', '') }}",
                        "stop_condition": "{{ not response.get('pagination', {}).get('after') }}",
                    },
                },
            },
        }
    ],
    "spec": {
        "type": "Spec",
        "connection_specification": {"type": "object", "properties": {}, "additionalProperties": True},
    },
}

CATALOG: dict[str, Any] = {
    "streams": [
        {
            "stream": {
                "name": "activity_logs",
                "json_schema": _SCHEMA,
                "supported_sync_modes": ["full_refresh"],
            },
            "sync_mode": "full_refresh",
            "destination_sync_mode": "append",
        }
    ]
}


def main() -> None:
    """Read the list whose address the config has."""
    config_path = Path(sys.argv[sys.argv.index("--config") + 1])
    catalog_path = config_path.with_name("catalog.json")
    catalog_path.write_text(json.dumps(CATALOG), encoding="utf-8")
    source = ConcurrentDeclarativeSource(
        catalog=ConfiguredAirbyteCatalogSerializer.load(CATALOG),
        config=json.loads(config_path.read_text(encoding="utf-8")),
        state=[],
        source_config=MANIFEST,
    )
    launch(source, ["read", "--config", str(config_path), "--catalog", str(catalog_path)])


if __name__ == "__main__":
    main()
