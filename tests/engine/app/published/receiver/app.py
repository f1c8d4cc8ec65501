import argparse
import json
import threading
from pathlib import Path

from plain_http import serve
from plain_redis import Redis

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--redis-url")
parser.add_argument("--data-dir")
parser.add_argument("--logs-dir")
args = parser.parse_args()

messages = Path(args.data_dir) / "receiver" / "messages"
messages.mkdir(parents=True, exist_ok=True)
logs = Path(args.logs_dir) / "receiver"
logs.mkdir(parents=True, exist_ok=True)
connected = False


def listen():
    global connected
    redis = Redis(args.redis_url)
    # Both ways of the specification: the exact channel, and a pattern.
    redis("SUBSCRIBE", "homehelper:events:example.message.sent")
    redis("PSUBSCRIBE", "homehelper:events:*")
    connected = True
    while True:
        kind, *_, data = redis.answer()
        if kind == "message":
            event = json.loads(data)
            with (messages / "batch_0001.txt").open("a") as file:
                file.write(f"{event['data']['number']}: {event['data']['content']}\n")


threading.Thread(target=listen, daemon=True).start()


def health():
    if connected:
        return {"health": "good", "message": "all is well", "extra_info": {"connected": True}}
    return {"health": "warning", "message": "Redis connection issue"}


serve(args.port, {"/health": health, "/ui": lambda: ["messages"], "/api/messages": lambda: [{"id": 1}]})
