"""Finding apps: their folders, what their manifests say, and that these have changed."""
