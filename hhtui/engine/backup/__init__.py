"""Backups and restores: archives, their checks, the journal that makes a restore whole, schedule and retention."""
