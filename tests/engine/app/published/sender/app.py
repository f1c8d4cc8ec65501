import argparse
import json
import os
import threading
import time

from plain_http import serve
from plain_redis import Redis

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--redis-url", required=True)
args = parser.parse_args()


def send():
    # As published apps do that take the variables instead of the option: without a user's name.
    redis = Redis(
        host=os.environ["REDIS_HOST"], port=os.environ["REDIS_PORT"], password=os.environ.get("REDIS_PASSWORD")
    )
    number = 0
    while True:
        number += 1
        event = {
            "source": os.environ["HOMEHELPER_APP_NAME"],
            "event_type": "example.message.sent",
            "timestamp": int(time.time()),
            "data": {"number": number, "content": "hello"},
        }
        redis("PUBLISH", "homehelper:events:example.message.sent", json.dumps(event))
        time.sleep(0.1)


threading.Thread(target=send, daemon=True).start()
serve(args.port, {"/health": lambda: {"health": "good", "message": "sending"}})
