"""How an app is started and reached: its command, variables, ports, health and visitors."""
