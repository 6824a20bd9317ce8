"""Start z3-target-bigquery with its Storage Write API pointed at an emulator, for which it has no setting."""

import os

import grpc
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport
from target_bigquery import core, storage_write
from target_bigquery.target import TargetBigQuery


def _client(_credentials):
    channel = grpc.insecure_channel(os.environ["STORAGE_WRITE_HOST"])
    return BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))


core.storage_client_factory = storage_write.storage_client_factory = _client
TargetBigQuery.cli()
