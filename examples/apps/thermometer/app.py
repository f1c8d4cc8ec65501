"""Publishes temperatures on Redis as events that the stream panel shows; runs on happily while Redis is away."""

import argparse
import asyncio
import json
import os
import random
import socket
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import redis.asyncio as redis
import uvicorn
from fastapi import FastAPI

APP_ID = os.environ.get("HOMEHELPER_APP_ID", "thermometer")
# HomeHelper gives each app its own Redis user, which may publish on homehelper:events:* and keep keys <app_id>:*.
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
CHANNEL = "homehelper:events:temperature"
SENSOR = Path("/sys/class/thermal/thermal_zone0/temp")

state = {"celsius": None, "published": 0, "redis": "not yet reached", "sequence": 0}


def read_celsius():
    """The processor's temperature, in the kernel's thousandths of a degree; a made-up one where there is no sensor."""
    try:
        return round(int(SENSOR.read_text()) / 1000, 1)
    except (OSError, ValueError):
        before = state["celsius"] or 21.0
        return round(min(max(before + random.uniform(-0.4, 0.4), 15.0), 30.0), 1)


def event(celsius):
    """The form of HomeHelper's events, so that every listener understands it."""
    state["sequence"] += 1
    return {
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "event_type": "temperature",
        "source": APP_ID,
        "data": {"app_id": APP_ID, "celsius": celsius, "status": "measured"},
        "metadata": {
            "version": "1.0.0",
            "correlation_id": str(uuid.uuid4()),
            "host": socket.gethostname(),
            "sequence": state["sequence"],
        },
    }


async def measure():
    """Measures for ever. Redis away is said once; the client connects anew by itself with the next publish."""
    client = redis.from_url(REDIS_URL, socket_connect_timeout=2, socket_timeout=2)
    while True:
        state["celsius"] = read_celsius()
        try:
            await client.publish(CHANNEL, json.dumps(event(state["celsius"])))
            await client.set(f"{APP_ID}:last", state["celsius"])
        except (redis.RedisError, OSError) as error:
            if state["redis"] != "away":
                print(f"Redis is away ({error}); measuring goes on")
            state["redis"] = "away"
        else:
            if state["redis"] != "connected":
                print("Redis is there, publishing")
            state["redis"] = "connected"
            state["published"] += 1
        await asyncio.sleep(random.uniform(2, 5))


@asynccontextmanager
async def lifespan(app):
    task = asyncio.create_task(measure())
    yield
    task.cancel()


app = FastAPI(title="Thermometer", lifespan=lifespan)


@app.get("/")
def last():
    return state


@app.get("/health")
def health():
    if state["redis"] == "connected":
        return {"health": "good", "message": f"{state['celsius']} °C", "extra_info": state}
    return {"health": "warning", "message": f"{state['celsius']} °C, Redis {state['redis']}", "extra_info": state}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8101")))
    # Health checks need no line each in the log.
    uvicorn.run(app, host="0.0.0.0", port=parser.parse_args().port, access_log=False)
