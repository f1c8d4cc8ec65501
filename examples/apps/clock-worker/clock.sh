# A worker without a port: `command` in homehelper.json replaces the Python start command, and
# `"health": null` tells HomeHelper that there is nothing to ask. What it prints is its log.
pause="${1:-15}"
trap 'echo "asked to stop"; exit 0' TERM INT

echo "telling the time every ${pause} s; data would go to ${HOMEHELPER_DATA_DIR:-nowhere}"
while :; do
    date '+it is %H:%M:%S'
    # In the background, so that the signal is not kept waiting until the sleep is over.
    sleep "$pause" &
    wait $!
done
