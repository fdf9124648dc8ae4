"""A receiver of OTLP, made of what others wrote: opentelemetry-proto and grpcio from PyPI.

Usage: receiver.py grpc|http PORT. Prints `listening PORT`, then each span that arrives, each request with metrics
as a list of points, and each request with logs as `logs` and a list of records, as one line of JSON.
"""

import gzip
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


SAYING = threading.Lock()


def say(line: str) -> None:
    """Writes a line whole, whatever other threads write."""
    with SAYING:
        print(line, flush=True)


def values(attributes) -> dict:
    """Attributes as plain values."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


def show(request: trace_service_pb2.ExportTraceServiceRequest) -> None:
    lines = []
    for of_resource in request.resource_spans:
        resource = values(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                line = {
                    "resource": resource,
                    "scope": of_scope.scope.name,
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "name": span.name,
                    "kind": span.kind,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "attributes": values(span.attributes),
                    "status": span.status.code,
                    "flags": span.flags,
                }
                lines.append(json.dumps(line))
    say("\n".join(lines))


def show_metrics(request: metrics_service_pb2.ExportMetricsServiceRequest) -> None:
    points = []
    for of_resource in request.resource_metrics:
        resource = values(of_resource.resource.attributes)
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                kind = metric.WhichOneof("data")
                for read in getattr(metric, kind).data_points:
                    value = read.count if kind == "histogram" else getattr(read, read.WhichOneof("value"))
                    point = {
                        "metric": metric.name,
                        "unit": metric.unit,
                        "kind": kind,
                        "resource": resource,
                        "attributes": values(read.attributes),
                        "value": value,
                    }
                    points.append(point)
    say(json.dumps(points))


def show_logs(request: logs_service_pb2.ExportLogsServiceRequest) -> None:
    records = []
    for of_resource in request.resource_logs:
        resource = values(of_resource.resource.attributes)
        for of_scope in of_resource.scope_logs:
            for read in of_scope.log_records:
                record = {
                    "resource": resource,
                    "scope": of_scope.scope.name,
                    "trace": read.trace_id.hex(),
                    "span": read.span_id.hex(),
                    "severity": read.severity_number,
                    "body": read.body.string_value,
                    "attributes": values(read.attributes),
                    "flags": read.flags,
                }
                records.append(record)
    say("logs " + json.dumps(records))


class LogsOverGrpc(logs_service_pb2_grpc.LogsServiceServicer):
    def Export(self, request, context):
        show_logs(request)
        return logs_service_pb2.ExportLogsServiceResponse()


class MetricsOverGrpc(metrics_service_pb2_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        show_metrics(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class OverGrpc(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        show(request)
        return trace_service_pb2.ExportTraceServiceResponse()


class OverHttp(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        good = self.headers["Content-Type"] == "application/x-protobuf"
        if good and self.path == "/v1/metrics":
            show_metrics(metrics_service_pb2.ExportMetricsServiceRequest.FromString(body))
        elif good and self.path == "/v1/logs":
            show_logs(logs_service_pb2.ExportLogsServiceRequest.FromString(body))
        elif good and self.path == "/v1/traces":
            show(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
        else:
            good = False
        answer = trace_service_pb2.ExportTraceServiceResponse().SerializeToString()
        self.send_response(200 if good else 404)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def main() -> None:
    protocol, port = sys.argv[1], int(sys.argv[2])
    if protocol == "grpc":
        server = grpc.server(ThreadPoolExecutor(max_workers=4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(OverGrpc(), server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(MetricsOverGrpc(), server)
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(LogsOverGrpc(), server)
        port = server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        print(f"listening {port}", flush=True)
        server.wait_for_termination()
    else:
        server = ThreadingHTTPServer(("127.0.0.1", port), OverHttp)
        print(f"listening {server.server_port}", flush=True)
        server.serve_forever()


main()
