"""Apps for another Pi, and for other supervisors: an archive, units, compose files, manifests, job specs."""
