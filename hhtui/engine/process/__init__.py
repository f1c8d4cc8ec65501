"""System calls around processes, each behind one small object."""
