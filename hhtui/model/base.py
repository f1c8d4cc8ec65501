"""What every model of ours is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Its validator is built at its first use: no process meets more than a part of all models."""

    model_config = ConfigDict(defer_build=True)
