"""Dies on purpose, again and again, until HomeHelper gives up: three restarts within a minute (homehelper.json)."""

import random
import time


def read_sensor(number):
    if number == 3:
        raise RuntimeError("the sensor on pin 4 does not answer")
    return round(random.uniform(18, 24), 1)


def main():
    print("reading the sensor")
    for number in range(1, 4):
        time.sleep(1)
        print(f"reading {number}: {read_sensor(number)} °C")


if __name__ == "__main__":
    main()
