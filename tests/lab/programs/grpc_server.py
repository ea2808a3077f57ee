"""A gRPC server of the lab: the standard health service, and a method of an application.

Usage: grpc_server.py NAME PORT BEHAVIOUR_FILE

What the health service answers is in BEHAVIOUR_FILE, read at every call; see `GrpcHealth` in grpc.rs. Messages are two
fields at most, so they are written out instead of generated.
"""

import concurrent.futures
import sys
import time

import grpc

NAME, PORT, BEHAVIOUR_FILE = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def said():
    try:
        with open(BEHAVIOUR_FILE) as file:
            return file.read().split()
    except FileNotFoundError:
        return ["status", "1"]


def misbehave(context):
    """Does what is not an answer; returns the serving status if the call is to be answered."""
    words = said()
    while words == ["hang"] and context.is_active():
        time.sleep(0.02)
        words = said()
    if words[0] == "code":
        number = int(words[1])
        code = next(code for code in grpc.StatusCode if code.value[0] == number)
        context.abort(code, "as told")
    return int(words[1]) if words[0] == "status" else 1


def check(_request, context):
    # HealthCheckResponse { ServingStatus status = 1; }
    return bytes([0x08, misbehave(context)])


def echo(request, context):
    context.set_trailing_metadata((("x-server", NAME),))
    return request


def unary(behaviour):
    return grpc.unary_unary_rpc_method_handler(behaviour)


health = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": unary(check)})
shop = grpc.method_handlers_generic_handler("lab.Shop", {"Echo": unary(echo)})
# A hung call holds a thread.
server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), handlers=(health, shop))
if not server.add_insecure_port(f"[::]:{PORT}") and not server.add_insecure_port(f"0.0.0.0:{PORT}"):
    sys.exit(f"cannot listen on {PORT}")
server.start()
server.wait_for_termination()
