"""What machine this is: the device tree's model on a board, DMI on a PC."""

from __future__ import annotations

from hhtui.engine.hardware.sensors.sensor_files import SensorFiles
from hhtui.model.metrics import BoardInfo

# In another root /proc/device-tree is an absolute link that would lead out of it, so the file it leads to comes first.
_MODEL_FILES = ("sys/firmware/devicetree/base/model", "proc/device-tree/model")
# What makers leave in when they forget to fill the field in.
_UNFILLED = (
    "to be filled",
    "system manufacturer",
    "system product",
    "default string",
    "o.e.m",
    "not applicable",
    "none",
)


def read_board(files: SensorFiles) -> BoardInfo:
    """The board; it does not change while the machine runs, so this is read once."""
    model = next((text for path in _MODEL_FILES if (text := files.text(path))), None)
    return BoardInfo(
        model=model or _dmi_model(files),
        raspberry_pi=model is not None and "raspberry pi" in model.lower(),
        kernel=files.text("proc/sys/kernel/osrelease"),
    )


def _dmi_model(files: SensorFiles) -> str | None:
    for vendor, product in (("sys_vendor", "product_name"), ("board_vendor", "board_name")):
        words = [files.text(f"sys/class/dmi/id/{name}") for name in (vendor, product)]
        if words[1] and not words[1].lower().startswith(_UNFILLED):
            return " ".join(word for word in words if word and not word.lower().startswith(_UNFILLED))
    return None
