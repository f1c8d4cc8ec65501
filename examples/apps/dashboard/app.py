"""A page about this machine. HomeHelper starts it at the first visit, and stops it when no tab is left open."""

import os
import platform
import time

import psutil
import streamlit as st

st.set_page_config(page_title=os.environ.get("HOMEHELPER_APP_NAME", "Dashboard"), layout="wide")
st.title(platform.node())
st.caption(f"{platform.machine()} · Python {platform.python_version()} · port {os.environ.get('PORT', '?')}")


@st.fragment(run_every=2)
def figures():
    # Each open tab keeps its own history of the last minute.
    history = st.session_state.setdefault("history", [])
    history.append(psutil.cpu_percent())
    del history[:-30]

    memory = psutil.virtual_memory()
    disk = psutil.disk_usage("/")
    columns = st.columns(4)
    columns[0].metric("Processor", f"{history[-1]:.0f} %")
    columns[1].metric(
        "Memory", f"{memory.percent:.0f} %", f"{memory.available / 2**20:.0f} MiB free", delta_color="off"
    )
    columns[2].metric("Disk", f"{disk.percent:.0f} %", f"{disk.free / 2**30:.1f} GiB free", delta_color="off")
    columns[3].metric("Up for", f"{(time.time() - psutil.boot_time()) / 3600:.1f} h")
    st.line_chart(history, height=220)


figures()
