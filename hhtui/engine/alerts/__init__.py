"""Rules on the machine and the apps, what holds of them now, and who is notified."""
