"""Talks gRPC to the specimen as a Python program would: grpcio, health and reflection packages from PyPI.

Usage: grpc_peer.py HOST:PORT. It knows no proto file: what it needs to know of the service it asks by reflection.
Prints one line per check; exits non-zero at the first that fails.
"""

import sys
from types import SimpleNamespace

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

TIMEOUT = 20
ECHO = "mainstay.specimen.v1.Echo"


def stub(channel: grpc.Channel, service) -> SimpleNamespace:
    """A client of `service`, from its descriptor."""
    methods = {}
    for method in service.methods:
        kind = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }[method.client_streaming, method.server_streaming]
        methods[method.name] = kind(
            f"/{service.full_name}/{method.name}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
    return SimpleNamespace(**methods)


def main() -> None:
    with grpc.insecure_channel(sys.argv[1]) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        names = database.get_services()
        assert ECHO in names, names
        assert "grpc.health.v1.Health" in names, names
        pool = DescriptorPool(database)
        service = pool.FindServiceByName(ECHO)
        assert service.FindMethodByName("Chat").input_type.full_name == "mainstay.specimen.v1.Words"
        print("reflection")

        echo = stub(channel, service)
        messages = SimpleNamespace(
            **{
                name: GetMessageClass(pool.FindMessageTypeByName(f"mainstay.specimen.v1.{name}"))
                for name in ["Words", "Range", "Number", "Failure"]
            }
        )

        answer = echo.Say(messages.Words(text="hé"), timeout=TIMEOUT)
        assert answer.text == "hé", answer
        print("unary")

        counted = [number.value for number in echo.Count(messages.Range(to=5), timeout=TIMEOUT)]
        assert counted == [1, 2, 3, 4, 5], counted
        print("server streaming")

        total = echo.Sum((messages.Number(value=n) for n in range(101)), timeout=TIMEOUT)
        assert total.value == 5050, total
        print("client streaming")

        words = [f"word {n}" for n in range(10)]
        heard = [w.text for w in echo.Chat((messages.Words(text=w) for w in words), timeout=TIMEOUT)]
        assert heard == words, heard
        print("bidirectional streaming")

        try:
            echo.Fail(messages.Failure(kind="not-found"), timeout=TIMEOUT)
            raise SystemExit("Fail did not fail")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
            details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
            assert details and b"NOT_FOUND" in details and b"ErrorInfo" in details, details
        print("error details")

        try:
            echo.Fail(messages.Failure(kind="panic"), timeout=TIMEOUT)
            raise SystemExit("a panic did not fail")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INTERNAL, error
            assert ".rs" not in error.details() and "panick" not in error.details(), error.details()
        assert echo.Say(messages.Words(text="still here"), timeout=TIMEOUT).text == "still here"
        print("panic")

        try:
            echo.Say(messages.Words(text="late", delay_ms=60_000), timeout=0.3)
            raise SystemExit("a deadline did not hold")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        print("deadline")

        try:
            channel.unary_unary("/mainstay.specimen.v1.Echo/Nothing")(b"", timeout=TIMEOUT)
            raise SystemExit("an unknown method answered")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
        try:
            channel.unary_unary("/no.such.Service/Method")(b"", timeout=TIMEOUT)
            raise SystemExit("an unknown service answered")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
        print("unimplemented")

        health = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        for service in ["", "mainstay.specimen.v1.Echo"]:
            got = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT).status
            assert got == serving, (service, got)
        try:
            health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=TIMEOUT)
            raise SystemExit("health knows nobody")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
        watch = health.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=TIMEOUT)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()
        watch = health.Watch(health_pb2.HealthCheckRequest(service=""), timeout=TIMEOUT)
        assert next(watch).status == serving
        watch.cancel()
        # `List` is newer than some generated stubs: called by name.
        if hasattr(health, "List"):
            listed = health.List(health_pb2.HealthListRequest(), timeout=TIMEOUT).statuses
            assert "mainstay.specimen.v1.Echo" in listed, listed
        print("health")


if __name__ == "__main__":
    main()
