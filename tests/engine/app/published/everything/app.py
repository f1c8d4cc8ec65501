import argparse
import json
import os
import threading

from plain_http import serve
from plain_redis import Redis

parser = argparse.ArgumentParser()
for option in ("--redis-url", "--data-dir", "--logs-dir", "--db-url"):
    parser.add_argument(option, required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--mcp-port", type=int, required=True)
args = parser.parse_args()

seen = []
redis = Redis(args.redis_url)
redis("XADD", "latarnia:streams:example.things.made", "*", "thing", "one")


def consume():
    reader = Redis(args.redis_url)
    stream, group = "latarnia:streams:example.orders", "everything_app"
    while True:
        for _, entries in reader("XREADGROUP", "GROUP", group, "one", "BLOCK", 500, "STREAMS", stream, ">") or []:
            for number, fields in entries:
                seen.append(fields)
                reader("XACK", stream, group, number)


threading.Thread(target=consume, daemon=True).start()
threading.Thread(target=serve, args=(args.mcp_port, {"/sse": lambda: "tools"}), daemon=True).start()


def state():
    return {
        "orders": seen,
        "arguments": vars(args),
        "environment": {name: value for name, value in os.environ.items() if name.isupper()},
    }


print("secret is", os.environ["EXAMPLE_API_KEY"], flush=True)
redis(
    "PUBLISH", "latarnia:events:example.ready", json.dumps({"source": "everything_app", "event_type": "example.ready"})
)
serve(args.port, {"/health": lambda: {"health": "good", "message": "ok"}, "/": lambda: "page", "/state": state})
